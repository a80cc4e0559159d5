//! The whole cloud in one process on one clock: the real manager, the real store and the real agent over simulated
//! machines, with every fault that can be thought of, and the same history for the same seed.
//!
//! What is real: everything between a request (as a handler gets it) and the step on a hypervisor, with the loops and the
//! task runner as they run in the program. What is simulated: machines, network, clocks, and the moment at which anybody
//! goes on ([`turn`]). Nothing here decides what the product should do; [`check`] only says what must never be.

pub mod check;
pub mod command;
pub mod ctx;
pub mod host;
mod journal;
mod layers;
pub mod life;
pub mod log;
mod machine;
pub mod manager;
pub mod net;
pub mod plant;
pub mod processor;
pub mod rng;
pub mod scenario;
pub mod schedule;
pub mod turn;
pub mod user;
mod watch;

use command::{Command, GuestDeed, StoreDeed, VirshDeed};
use ctx::{Ctx, Settings};
use host::{Hypervising, Site};
use life::State;
use manager::Office;
use net::Weather;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use turn::{Turns, lock};
use user::People;
use uuid::Uuid;
use virga_manager::ca::Authority;
use virga_model::host::Host;
use virga_model::image::{Image, ImageFormat, ImageState};
use virga_model::network::{Network, NetworkSpec};
use virga_model::role::{Role, RoleBinding, Scope, Visible};
use virga_model::task::ObjectRef;
use virga_model::user::User;
use virga_model::vm::{Vm, VmState};
use virga_model::{Error, HostId, ImageId, NetworkId, RoleBindingId, Time, UserId};
use virga_store::Store;

/// The content of the image of every world.
pub const IMAGE: &[u8] = b"the content of an image that guests start from";
/// Its name.
pub const IMAGE_NAME: &str = "debian";
/// The network of every world.
pub const NETWORK_NAME: &str = "lan";
/// Bytes of the stack of a world's thread; only what is used is taken.
const STACK_BYTES: usize = 32 << 20;
/// Bytes of a GiB.
const GIB: u64 = 1 << 30;

/// What there is at the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Managers, `m1` and so on.
    pub managers: usize,
    /// Hosts, with GiB of memory.
    pub hosts: Vec<(String, u64)>,
}

/// A world.
pub struct World {
    /// What all parts share.
    pub ctx: Arc<Ctx>,
    /// The people in it.
    pub people: Arc<People>,
    watch: watch::Watch,
}

/// The parts hold each other: without this a world, with the files and threads of its database, would outlive its end.
impl Drop for World {
    fn drop(&mut self) {
        for office in std::mem::take(&mut *lock(&self.ctx.offices)) {
            office.vanish();
        }
        for site in std::mem::take(&mut *lock(&self.ctx.sites)) {
            site.kill_agent();
        }
    }
}

/// The certificate authority of all worlds: making keys takes long, and nothing here is encrypted.
fn authority() -> Result<&'static Path, Error> {
    static FOLDER: OnceLock<Option<tempfile::TempDir>> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().ok()?;
        std::fs::create_dir(folder.path().join("images")).ok()?;
        Authority::open(folder.path()).ok()?;
        Some(folder)
    });
    made.as_ref().map(tempfile::TempDir::path).ok_or_else(|| Error::internal("The folder of the simulated managers cannot be made."))
}

impl World {
    /// Builds a world and starts what is in it, at time zero. Call it on the runtime of `turns`.
    ///
    /// # Errors
    /// When the database or a temporary folder cannot be made.
    pub async fn build(settings: Settings, start: &Start, turns: Turns) -> Result<World, Error> {
        let folder = authority()?;
        let pass = turns.take();
        let store = Store::memory().await?;
        let ctx = Ctx::new(settings, store, turns);
        let people = Arc::new(People::default());
        *lock(&people.token) = first_rows(&ctx, start).await?;
        drop(pass);
        let shares = crate::Shares::default();
        for (n, (name, gib)) in start.hosts.iter().enumerate() {
            let site = Site::new(&ctx, name, host_id(n), gib * GIB);
            site.sim.see(&shares);
            ctx.log.call(site.id.0, name);
            lock(&ctx.sites).push(site);
        }
        for n in 1..=start.managers {
            let office = Office::new(&ctx, &format!("m{n}"));
            office.start(folder)?;
            lock(&ctx.offices).push(office);
        }
        for site in ctx.sites() {
            site.start_agent(&ctx);
        }
        Ok(World { ctx, people, watch: watch::Watch::default() })
    }

    /// Lets time go on until `ms`, with everything that happens in it.
    pub async fn run_until(&mut self, ms: u64) {
        loop {
            self.ctx.turns.idle().await;
            if self.ctx.turns.let_one_in() {
                continue;
            }
            if std::mem::take(&mut *lock(&self.ctx.committed)) && self.ctx.settings.keep_log {
                self.watch.look(&self.ctx).await;
            }
            let now = self.ctx.now();
            if now >= ms {
                return;
            }
            self.ctx.clock.advance(ms - now);
        }
    }

    /// Does a command now.
    pub async fn command(&self, c: &Command) {
        self.ctx.say(format!("> {c}"));
        if People::hear(c) {
            self.people.ask(&self.ctx, c.clone());
            return;
        }
        if let Err(why) = self.fate(c).await {
            self.ctx.say(format!("  {why}"));
        }
    }

    fn site(&self, name: &str) -> Result<Arc<Site>, String> {
        self.ctx.sites().into_iter().find(|s| s.name == name).ok_or_else(|| format!("there is no host {name}"))
    }

    fn office(&self, name: &str) -> Result<Arc<Office>, String> {
        self.ctx.offices().into_iter().find(|o| o.name == name).ok_or_else(|| format!("there is no manager {name}"))
    }

    /// The row of a VM and its host.
    async fn vm(&self, name: &str) -> Result<(Vm, Arc<Site>), String> {
        let _pass = self.ctx.turns.take();
        let mut tx = self.ctx.store.read().await.map_err(|e| e.to_string())?;
        let vm = virga_store::vm::by_ref(&mut tx, name, &Visible::everything()).await.map_err(|e| e.to_string())?;
        let vm = vm.ok_or_else(|| format!("there is no VM {name}"))?;
        let site = self.ctx.sites().into_iter().find(|s| Some(s.id) == vm.host).ok_or_else(|| format!("VM {name} is on no host"))?;
        Ok((vm, site))
    }

    /// Everything that people do not ask the API for.
    async fn fate(&self, c: &Command) -> Result<(), String> {
        match c {
            Command::Cancel { object } => return self.cancel(object).await,
            Command::Guest { vm, deed } => return self.guest(vm, *deed).await,
            Command::Virsh { vm, deed } => return self.virsh(vm, *deed).await,
            Command::ManagerKill { manager } => self.office(manager)?.kill(),
            Command::ManagerStart { manager } => self.office(manager)?.start(authority().map_err(|e| e.message)?).map_err(|e| e.message)?,
            Command::ManagerKillAt { manager, death } => self.office(manager)?.die_at(Some(*death)),
            Command::ManagerHold { manager } => self.office(manager)?.hold(true),
            Command::ManagerGoOn { manager } => self.office(manager)?.hold(false),
            Command::Weather { loss, twice, late, spread_ms } => {
                self.ctx.net.set_weather(Weather { loss: *loss, twice: *twice, late: *late, spread_ms: *spread_ms });
            }
            Command::Clock { who, seconds } => match self.site(who) {
                Ok(site) => site.disk.clock_s.store(*seconds, Ordering::SeqCst),
                Err(_) => self.office(who)?.clock_s.store(*seconds, Ordering::SeqCst),
            },
            other => return self.machine(other),
        }
        Ok(())
    }

    /// What happens to a machine.
    fn machine(&self, c: &Command) -> Result<(), String> {
        match c {
            Command::HostPower { host, on: false } => self.site(host)?.power_off(),
            Command::HostPower { host, on: true } => self.site(host)?.power_on(&self.ctx),
            Command::AgentKill { host } => self.site(host)?.kill_agent(),
            Command::AgentStart { host } => self.site(host)?.start_agent(&self.ctx),
            Command::AgentKillAt { host, write } => self.site(host)?.disk.writes_left.store(*write, Ordering::SeqCst),
            Command::AgentForget { host } => self.site(host)?.lose_journal(),
            Command::Network { host, to_cut, from_cut } => {
                self.site(host)?;
                self.ctx.net.cut(host, *to_cut, *from_cut);
            }
            Command::Libvirt { host, state } => self.site(host)?.disk.set_hypervisor(*state, self.ctx.now()),
            Command::Starts { host, fail } => {
                self.site(host)?.sim.set_faults(|f| f.start_fails = fail.then(|| "QEMU ended: no such device".into()));
            }
            Command::Changes { host, fail } => {
                self.site(host)?.sim.set_faults(|f| f.change_fails = fail.then(|| "QEMU refused the change".into()));
            }
            Command::Hearing { host, deaf } => self.site(host)?.sim.set_faults(|f| f.guests_ignore_shutdown = *deaf),
            Command::Shares { host, fault } => self.site(host)?.sim.set_faults(|f| f.shares = *fault),
            Command::Storage { host, deed } => {
                let site = self.site(host)?;
                store_deed(&site, *deed);
            }
            other => return Err(format!("\"{other}\" cannot be done")),
        }
        Ok(())
    }

    async fn guest(&self, name: &str, deed: GuestDeed) -> Result<(), String> {
        let (vm, site) = self.vm(name).await?;
        if site.sim.domain_state(vm.id) != Some(VmState::Running) {
            return Err(format!("the guest of {name} does not run"));
        }
        site.sim.meddle(vm.id, Some(if deed == GuestDeed::Crash { VmState::Crashed } else { VmState::Stopped }));
        Ok(())
    }

    async fn virsh(&self, name: &str, deed: VirshDeed) -> Result<(), String> {
        let (vm, site) = self.vm(name).await?;
        if !site.powered() {
            return Err("the host has no power".into());
        }
        let state = site.sim.domain_state(vm.id).ok_or_else(|| format!("there is no domain of {name}"))?;
        lock(&self.ctx.book).meddled.insert(vm.id);
        match (deed, state) {
            (VirshDeed::Start, VmState::Stopped) if !site.sim.can_boot(vm.id) => return Err("QEMU does not find a disk's file".into()),
            (VirshDeed::Start, VmState::Stopped) => site.sim.meddle(vm.id, Some(VmState::Running)),
            (VirshDeed::Destroy, VmState::Running | VmState::Paused | VmState::Crashed) => site.sim.meddle(vm.id, Some(VmState::Stopped)),
            (VirshDeed::Undefine, VmState::Running | VmState::Stopped) => site.sim.meddle(vm.id, None),
            (VirshDeed::Edit, _) => site.sim.edit_outside(vm.id),
            _ => return Err(format!("virsh says that the domain is {state}")),
        }
        Ok(())
    }

    /// Asks the active task of an object to stop.
    async fn cancel(&self, object: &str) -> Result<(), String> {
        let of = match object {
            "image" => ObjectRef::Image(image_id()),
            "network" => ObjectRef::Network(network_id()),
            "batch" => ObjectRef::System,
            name => ObjectRef::Vm(self.vm(name).await?.0.id),
        };
        let said = async {
            let _pass = self.ctx.turns.take();
            let mut tx = self.ctx.store.write().await?;
            let active = check::active_tasks(&mut tx).await?.into_iter().find(|t| t.object == of);
            if let Some(t) = &active {
                virga_store::task::request_cancel(&mut tx, t.id).await?;
            }
            tx.commit().await?;
            Ok::<bool, Error>(active.is_some())
        };
        match said.await {
            Ok(true) => {
                for o in self.ctx.offices() {
                    if let Some(api) = o.api() {
                        api.m.committed();
                    }
                }
                Ok(())
            }
            Ok(false) => Err("there is no active task".into()),
            Err(e) => Err(e.message),
        }
    }

    /// Every running guest writes a number of its own into each of its disks.
    pub fn guests_write(&self) {
        for site in self.ctx.sites().iter().filter(|s| s.powered()) {
            site.guests().into_iter().for_each(|(vm, ..)| site.sim.guest_writes(vm));
        }
    }

    /// Ends every fault that can be ended by people who come and mend.
    pub async fn heal(&self) {
        self.ctx.say("> everything is mended");
        self.ctx.net.set_weather(Weather::FAIR);
        for site in self.ctx.sites() {
            self.ctx.net.cut(&site.name, false, false);
            site.disk.set_hypervisor(Hypervising::Up, self.ctx.now());
            site.disk.writes_left.store(0, Ordering::SeqCst);
            site.sim.set_faults(|f| (f.start_fails, f.change_fails, f.guests_ignore_shutdown, f.shares) = (None, None, false, None));
            store_deed(&site, StoreDeed::Ok);
            site.power_on(&self.ctx);
            site.start_agent(&self.ctx);
        }
        for office in self.ctx.offices() {
            office.die_at(None);
            office.clock_s.store(0, Ordering::SeqCst);
            if office.life().state() == State::Held {
                office.hold(false);
            }
            if let Ok(folder) = authority() {
                let _ = office.start(folder);
            }
        }
    }
}

fn store_deed(site: &Site, deed: StoreDeed) {
    let set = |flag: &std::sync::atomic::AtomicBool, to: bool| flag.store(to, Ordering::SeqCst);
    set(&site.disk.full, deed == StoreDeed::Full);
    set(&site.disk.broken, deed == StoreDeed::Full);
    set(&site.disk.store_broken, deed == StoreDeed::Error);
    set(&site.disk.slow, deed == StoreDeed::Slow);
    site.sim.set_faults(|f| f.disk_fails = (deed == StoreDeed::Full).then(|| "no space left on the store".into()));
}

fn host_id(n: usize) -> HostId {
    HostId(Uuid::from_u128(0x100 + n as u128))
}

fn image_id() -> ImageId {
    ImageId(Uuid::from_u128(0x20))
}

fn network_id() -> NetworkId {
    NetworkId(Uuid::from_u128(0x30))
}

/// The rows of a fresh installation; answers with the token of its administrator.
async fn first_rows(ctx: &Ctx, start: &Start) -> Result<String, Error> {
    let now = ctx.clock.time();
    let admin = UserId(Uuid::from_u128(2));
    let mut tx = ctx.store.write().await?;
    let user = User {
        id: admin,
        name: virga_manager::first::ADMIN.into(),
        password_hash: String::new(),
        must_change: false,
        disabled: false,
        failures: 0,
        locked_until: None,
        generation: 1,
        created_at: now,
    };
    virga_store::user::insert(&mut tx, &user).await?;
    let binding = RoleBinding { id: RoleBindingId(Uuid::from_u128(3)), user: admin, role: Role::Admin, scope: Scope::All };
    virga_store::role_binding::insert(&mut tx, &binding).await?;
    for (n, (name, _)) in start.hosts.iter().enumerate() {
        let host = Host {
            id: host_id(n),
            name: name.clone(),
            address: String::new(),
            maintenance: false,
            certificate_sha256: String::new(),
            generation: 1,
            epoch: 1,
            facts: virga_model::host::HostFacts::default(),
            last_report_at: None,
            created_at: now,
        };
        virga_store::host::insert(&mut tx, &host).await?;
    }
    virga_store::image::insert(&mut tx, &image(now)).await?;
    let spec = NetworkSpec::Nat { cidr: "10.9.0.0/24".into() };
    let network = Network { id: network_id(), name: NETWORK_NAME.into(), spec, generation: 1, deleting: false, created_at: now };
    virga_store::network::insert(&mut tx, &network).await?;
    tx.commit().await?;
    ctx.log.call(image_id().0, IMAGE_NAME);
    ctx.log.call(network_id().0, NETWORK_NAME);
    virga_manager::first::admin_token(&ctx.store, now, now.plus_seconds(365 * 86_400)).await
}

fn image(now: Time) -> Image {
    Image {
        id: image_id(),
        name: IMAGE_NAME.into(),
        format: Some(ImageFormat::Raw),
        size_bytes: IMAGE.len() as u64,
        virtual_bytes: 1 << 20,
        sha256: Sha256::digest(IMAGE).iter().map(|b| format!("{b:02x}")).collect(),
        state: ImageState::Ready,
        generation: 1,
        created_at: now,
        part: None,
        package: None,
    }
}

/// Runs a world to its end on a thread of its own kind: single-threaded, and ordered by [`Turns`].
///
/// # Errors
/// What `life` says, or that there is no runtime.
pub fn play<T, F, Fut>(life: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(Turns) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, Error>> + Send + 'static,
{
    // Without optimisation the frames of the handlers, which people call here in one process, are more than a thread of a
    // test has.
    let thread = std::thread::Builder::new().name("world".into()).stack_size(STACK_BYTES);
    let played = thread.spawn(move || {
        let turns = Turns::default();
        let runtime = turns.runtime().map_err(|e| Error::internal(e.to_string()))?;
        let ended = runtime.block_on(async { tokio::spawn(life(turns)).await });
        // What is dead waits for ever; nobody waits for it.
        runtime.shutdown_background();
        ended.map_err(|e| Error::internal(e.to_string()))?
    });
    let played = played.map_err(|e| Error::internal(e.to_string()))?;
    played.join().map_err(|_| Error::internal("The simulated world broke off."))?
}
