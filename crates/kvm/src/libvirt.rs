//! The way to libvirtd: connections, events, and the few calls that the `virt` crate does not wrap.
//!
//! This is the crate's only module with `unsafe` (but for one line in `console`). Every call of libvirt blocks, so each
//! runs on tokio's blocking pool, in one of five lanes with a bounded number of slots: what a hostile guest can make slow
//! (its agent) and what takes long by nature (saving memory) can never keep the rest waiting. A call that does not come
//! back in time is an `Unavailable` error for the caller; its slot stays taken until libvirt lets go of it.
//!
//! A connection is used by one call at a time, and there are no keepalives. In libvirt's client before 10.3 a thread that
//! speaks while another waits on the same connection can leave a pointer to a stack that is gone (CVE-2024-4418): an agent
//! that shared its connections died with SIGSEGV when libvirtd hung. libvirtd is on the same machine: its death closes
//! the sockets, and a libvirtd that hangs is met by the limit of each call.

use crate::pauses::Pauses;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;
use virga_model::{Error, ErrorCode, VmId};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{ErrorNumber, ErrorNumberEnum};
use virt_sys as sys;

/// Calls that run at the same time in one lane, each on a connection of its own.
const SLOTS: usize = 4;
/// How long an ordinary call may take.
pub const QUICK: Duration = Duration::from_secs(20);
/// How long a call may take that waits for QEMU (start, hot plug).
pub const SLOW: Duration = Duration::from_secs(90);
/// How long saving a guest's memory may take.
pub const SAVE: Duration = Duration::from_secs(30 * 60);

/// Why a step failed, as seen on the thread that made the call.
pub enum Fault {
    /// libvirt said so.
    Libvirt(virt::error::Error),
    /// We said so.
    Own(Error),
}

impl From<virt::error::Error> for Fault {
    fn from(e: virt::error::Error) -> Fault {
        Fault::Libvirt(e)
    }
}

impl From<Error> for Fault {
    fn from(e: Error) -> Fault {
        Fault::Own(e)
    }
}

impl Fault {
    /// Whether libvirt said this.
    pub fn is(&self, number: ErrorNumber) -> bool {
        matches!(self, Fault::Libvirt(e) if number_is(e, number))
    }

    /// The error for people; `what` is what could not be done ("The VM could not be started").
    pub fn explain(self, what: &str) -> Error {
        match self {
            Fault::Own(e) => e,
            Fault::Libvirt(e) => explain(what, &e),
        }
    }
}

/// Whether `e` is of that kind.
pub fn number_is(e: &virt::error::Error, number: ErrorNumber) -> bool {
    matches!(e.code(), ErrorNumberEnum::Known(n) if n == number)
}

fn explain(what: &str, e: &virt::error::Error) -> Error {
    let said: String = e.message().chars().filter(|c| !c.is_control()).take(600).collect();
    let message = format!("{what}: libvirt says \"{said}\".");
    let ErrorNumberEnum::Known(number) = e.code() else { return Error::host(message) };
    match number {
        ErrorNumber::NoDomain | ErrorNumber::NoNetwork => Error::new(ErrorCode::NotFound, message),
        ErrorNumber::OperationInvalid => Error::conflict(message).with_hint("The VM's state has changed meanwhile; look at it again."),
        ErrorNumber::NoConnect | ErrorNumber::Rpc | ErrorNumber::AuthFailed => unavailable(&message),
        ErrorNumber::OperationTimeout | ErrorNumber::AgentUnresponsive | ErrorNumber::ResourceBusy => {
            Error::new(ErrorCode::Unavailable, message).with_hint("Try again in a moment.")
        }
        _ => Error::host(message).with_hint("The log of libvirtd and /var/log/libvirt/qemu on the host tell more."),
    }
}

fn unavailable(message: &str) -> Error {
    Error::new(ErrorCode::Unavailable, message)
        .with_hint("Check that libvirtd runs on the host (systemctl status libvirtd). The VMs themselves go on running without it.")
}

/// Which connection and slots a call uses.
#[derive(Clone, Copy, Debug)]
pub enum Lane {
    /// What is answered at once or has to be done now.
    Control = 0,
    /// Guest agents: as slow as a guest likes.
    Guest = 1,
    /// Saving memory, screenshots.
    Long = 2,
    /// Lists, counters and events: what is asked of libvirtd alone and never of a QEMU. Its slots are its own, so that
    /// guests whose QEMU hangs, and hold the slots of `Control`, never keep the agent from seeing all the others.
    Look = 3,
    /// Pulling the plug, which must work whatever hangs.
    Off = 4,
}

/// libvirt on this host.
pub struct Libvirt {
    uri: String,
    lanes: [Line; 5],
    /// A connection on which nothing is called: events come on it.
    events: Mutex<Option<Listener>>,
    heard: Heard,
    vms: Mutex<HashMap<VmId, Arc<tokio::sync::Mutex<()>>>>,
}

struct Line {
    slots: Arc<Semaphore>,
    /// Open connections that no call uses at the moment.
    idle: Mutex<Vec<Connect>>,
}

/// Who is told of events.
#[derive(Clone)]
struct Heard {
    changes: watch::Sender<u64>,
    pauses: Arc<Pauses>,
}

/// An open connection with its event registrations.
struct Listener {
    conn: Connect,
    events: Vec<c_int>,
    watches_close: bool,
}

impl Libvirt {
    /// Prepares the event loop; connects at the first call.
    ///
    /// # Errors
    /// When libvirt's event loop cannot be set up.
    pub fn new(uri: &str) -> Result<Arc<Libvirt>, Error> {
        start_event_loop()?;
        let line = || Line { slots: Arc::new(Semaphore::new(SLOTS)), idle: Mutex::default() };
        Ok(Arc::new(Libvirt {
            uri: uri.to_string(),
            lanes: std::array::from_fn(|_| line()),
            events: Mutex::new(None),
            heard: Heard { changes: watch::Sender::new(0), pauses: Arc::default() },
            vms: Mutex::new(HashMap::new()),
        }))
    }

    /// Wakes when any domain changed its state, and when the connection was lost or made again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.heard.changes.subscribe()
    }

    /// How long guests are held.
    pub fn pauses(&self) -> &Arc<Pauses> {
        &self.heard.pauses
    }

    /// Runs `f` with a live connection. `what` says for people what failed if it fails.
    ///
    /// # Errors
    /// What `f` says; `Unavailable` when libvirtd is down or does not answer within `limit`.
    pub async fn call<T, F>(self: &Arc<Self>, lane: Lane, limit: Duration, what: &'static str, f: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connect) -> Result<T, Fault> + Send + 'static,
    {
        let slow = || unavailable(&format!("{what}: libvirt has not answered for {} s.", limit.as_secs()));
        let this = self.clone();
        let work = async move {
            let slot = this.lanes[lane as usize].slots.clone().acquire_owned().await.map_err(|e| Error::internal(e.to_string()))?;
            tokio::task::spawn_blocking(move || {
                // Kept until the call is back, even when nobody waits for it any more.
                let _slot = slot;
                this.run(lane, what, f)
            })
            .await
            .map_err(|e| Error::internal(format!("{what}: the call into libvirt broke off: {e}.")))?
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(slow()))
    }

    /// As [`Libvirt::call`] on the VM's domain, which must be ours; calls for one VM come one after the other.
    ///
    /// # Errors
    /// As `call`; `NotFound` when there is no such domain, `Conflict` when it is not Virga's.
    pub async fn change<T, F>(self: &Arc<Self>, vm: VmId, lane: Lane, limit: Duration, what: &'static str, f: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connect, &Domain) -> Result<T, Fault> + Send + 'static,
    {
        self.guarded(vm, lane, limit, what, move |conn| match ours(conn, vm)? {
            Some(d) => f(conn, &d),
            None => Err(no_domain(what, vm).into()),
        })
        .await
    }

    /// As [`Libvirt::call`]; calls for one VM come one after the other.
    ///
    /// # Errors
    /// As `call`.
    pub async fn guarded<T, F>(self: &Arc<Self>, vm: VmId, lane: Lane, limit: Duration, what: &'static str, f: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connect) -> Result<T, Fault> + Send + 'static,
    {
        let lock = self.vm_lock(vm);
        let guard = tokio::time::timeout(limit, lock.lock_owned()).await.map_err(|_| {
            Error::new(ErrorCode::Unavailable, format!("{what}: another step on this VM has not ended for {} s.", limit.as_secs()))
                .with_hint("Try again when it has ended.")
        })?;
        self.call(lane, limit, what, move |conn| {
            let _guard = guard;
            f(conn)
        })
        .await
    }

    fn vm_lock(&self, vm: VmId) -> Arc<tokio::sync::Mutex<()>> {
        let mut vms = self.vms.lock().unwrap_or_else(PoisonError::into_inner);
        if vms.len() > 1024 {
            vms.retain(|_, l| Arc::strong_count(l) > 1);
        }
        vms.entry(vm).or_default().clone()
    }

    fn run<T>(&self, lane: Lane, what: &str, f: impl FnOnce(&Connect) -> Result<T, Fault>) -> Result<T, Error> {
        let unreachable = |e: virt::error::Error| unavailable(&format!("{what}: libvirt at {} cannot be reached: {}.", self.uri, e.message()));
        if matches!(lane, Lane::Look) {
            self.listen().map_err(unreachable)?;
        }
        let conn = self.connection(lane).map_err(unreachable)?;
        let done = f(&conn);
        if conn.is_alive().unwrap_or(false) {
            self.idle(lane).push(conn);
        } else if let Err(Fault::Libvirt(e)) = &done {
            return Err(unavailable(&format!("{what}: the connection to libvirt was lost: {}.", e.message())));
        }
        done.map_err(|f| f.explain(what))
    }

    fn idle(&self, lane: Lane) -> std::sync::MutexGuard<'_, Vec<Connect>> {
        self.lanes[lane as usize].idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for one call: one that is open and not in use, else a new one. There are never more than slots.
    fn connection(&self, lane: Lane) -> Result<Connect, virt::error::Error> {
        loop {
            let waiting = self.idle(lane).pop();
            match waiting {
                Some(conn) if conn.is_alive().unwrap_or(false) => return Ok(conn),
                Some(_dead) => {}
                None => return Connect::open(Some(&self.uri)),
            }
        }
    }

    /// Sees to it that somebody listens for events.
    fn listen(&self) -> Result<(), virt::error::Error> {
        let mut listener = match self.events.try_lock() {
            Ok(l) => l,
            Err(std::sync::TryLockError::Poisoned(p)) => p.into_inner(),
            // Another call is at it.
            Err(std::sync::TryLockError::WouldBlock) => return Ok(()),
        };
        if listener.as_ref().is_some_and(|l| l.conn.is_alive().unwrap_or(false)) {
            return Ok(());
        }
        *listener = None;
        let mut new = Listener { conn: Connect::open(Some(&self.uri))?, events: Vec::new(), watches_close: false };
        for event in [sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, sys::VIR_DOMAIN_EVENT_ID_IO_ERROR] {
            new.events.push(register(&new.conn, event as c_int, &self.heard)?);
        }
        new.watches_close = register_close(&new.conn, &self.heard);
        *listener = Some(new);
        // What happened while nobody listened.
        self.heard.changes.send_modify(|n| *n = n.wrapping_add(1));
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for id in &self.events {
            // SAFETY: `conn` is open (it is closed after this), and the id came from it. libvirt frees the callback's
            // data through `free_sender` when it no longer uses it. An error only means that the connection is dead.
            unsafe { sys::virConnectDomainEventDeregisterAny(self.conn.as_ptr(), *id) };
        }
        if self.watches_close {
            // SAFETY: as above, for the one callback registered by `register_close`.
            unsafe { sys::virConnectUnregisterCloseCallback(self.conn.as_ptr(), Some(on_close)) };
        }
    }
}

/// The error for a VM that the hypervisor does not know.
pub fn no_domain(what: &str, vm: VmId) -> Error {
    Error::new(ErrorCode::NotFound, format!("{what}: this host's libvirt has no domain {vm}."))
}

/// The domain of that id; none when there is none.
///
/// # Errors
/// What libvirt says.
pub fn lookup(conn: &Connect, vm: VmId) -> Result<Option<Domain>, Fault> {
    match conn.lookup_domain_by_uuid(vm.0) {
        Ok(d) => Ok(Some(d)),
        Err(e) if number_is(&e, ErrorNumber::NoDomain) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// As [`lookup`]; a domain without our metadata is refused.
///
/// # Errors
/// `Conflict` for a foreign domain.
pub fn ours(conn: &Connect, vm: VmId) -> Result<Option<Domain>, Fault> {
    let Some(d) = lookup(conn, vm)? else { return Ok(None) };
    if is_ours(&d)? { Ok(Some(d)) } else { Err(foreign(vm).into()) }
}

fn foreign(vm: VmId) -> Error {
    Error::conflict(format!("The libvirt domain {vm} does not carry Virga's metadata, so it is somebody else's and is not touched."))
        .with_hint("Look at it with virsh dumpxml. If it was Virga's and its metadata was edited away, put the <virga:vm> element back.")
}

/// Whether the domain carries our metadata.
///
/// # Errors
/// What libvirt says.
pub fn is_ours(d: &Domain) -> Result<bool, Fault> {
    match d.metadata(sys::VIR_DOMAIN_METADATA_ELEMENT as i32, Some(crate::domain_xml::NAMESPACE), 0) {
        Ok(_) => Ok(true),
        Err(e) if number_is(&e, ErrorNumber::NoDomainMetadata) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// State and reason as libvirt's numbers (the crate's own `state` swallows errors).
///
/// # Errors
/// What libvirt says.
pub fn state(d: &Domain) -> Result<(u32, i32), Fault> {
    let (mut state, mut reason): (c_int, c_int) = (0, 0);
    // SAFETY: `d` holds a valid domain, and both pointers lead to live integers.
    let r = unsafe { sys::virDomainGetState(d.as_ptr(), &raw mut state, &raw mut reason, 0) };
    if r < 0 {
        return Err(virt::error::Error::last_error().into());
    }
    Ok((u32::try_from(state).unwrap_or(0), reason))
}

/// Numbers by name.
pub type Numbers = HashMap<String, u64>;

/// Integer statistics of every running domain in one call, by UUID.
///
/// # Errors
/// What libvirt says.
pub fn statistics(conn: &Connect) -> Result<Vec<(Uuid, Numbers)>, Fault> {
    let wanted = sys::VIR_DOMAIN_STATS_CPU_TOTAL
        | sys::VIR_DOMAIN_STATS_BALLOON
        | sys::VIR_DOMAIN_STATS_VCPU
        | sys::VIR_DOMAIN_STATS_INTERFACE
        | sys::VIR_DOMAIN_STATS_BLOCK;
    all_statistics(conn, wanted, sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED)
}

/// State and reason of every domain in one call, by UUID.
///
/// # Errors
/// What libvirt says.
pub fn states(conn: &Connect) -> Result<HashMap<Uuid, (u32, i32)>, Fault> {
    let number = |values: &Numbers, name: &str| values.get(name).copied();
    let read = |(uuid, values): (Uuid, Numbers)| {
        let state = u32::try_from(number(&values, "state.state")?).ok()?;
        Some((uuid, (state, number(&values, "state.reason").and_then(|r| i32::try_from(r).ok()).unwrap_or(0))))
    };
    Ok(all_statistics(conn, sys::VIR_DOMAIN_STATS_STATE, 0)?.into_iter().filter_map(read).collect())
}

fn all_statistics(conn: &Connect, wanted: u32, which: u32) -> Result<Vec<(Uuid, Numbers)>, Fault> {
    // NOWAIT: a domain whose QEMU hangs gives what is known without asking QEMU.
    let flags = which | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    let mut records: *mut sys::virDomainStatsRecordPtr = std::ptr::null_mut();
    // SAFETY: `conn` is open; `records` is where libvirt puts a list that we free below.
    let count = unsafe { sys::virConnectGetAllDomainStats(conn.as_ptr(), wanted, &raw mut records, flags) };
    let Ok(count) = usize::try_from(count) else {
        return Err(virt::error::Error::last_error().into());
    };
    let mut out = Vec::with_capacity(count);
    for i in 0..count {
        // SAFETY: the list holds `count` valid records, each with a valid domain and `nparams` parameters.
        unsafe {
            let record = &**records.add(i);
            let mut uuid = [0u8; 16];
            if sys::virDomainGetUUID(record.dom, uuid.as_mut_ptr()) == 0 {
                out.push((Uuid::from_bytes(uuid), integers(record.params, record.nparams)));
            }
        }
    }
    // SAFETY: the list came from virConnectGetAllDomainStats and is not used any more; NULL is allowed.
    unsafe { sys::virDomainStatsRecordListFree(records) };
    Ok(out)
}

/// The non-negative integers among typed parameters.
///
/// # Safety
/// `params` must lead to `count` parameters of libvirt (or `count` be 0 or less).
unsafe fn integers(params: sys::virTypedParameterPtr, count: c_int) -> Numbers {
    let mut out = HashMap::new();
    for i in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the caller says that there are `count` of them; the union's member is chosen by its type, and the
        // name is NUL-terminated within its 80 bytes, as libvirt guarantees.
        unsafe {
            let p = &*params.add(i);
            let value = match p.type_ as u32 {
                sys::VIR_TYPED_PARAM_INT => u64::try_from(p.value.i).ok(),
                sys::VIR_TYPED_PARAM_UINT => Some(u64::from(p.value.ui)),
                sys::VIR_TYPED_PARAM_LLONG => u64::try_from(p.value.l).ok(),
                sys::VIR_TYPED_PARAM_ULLONG => Some(p.value.ul),
                _ => None,
            };
            if let Some(v) = value {
                out.insert(CStr::from_ptr(p.field.as_ptr()).to_string_lossy().into_owned(), v);
            }
        }
    }
    out
}

/// How far a job on a disk is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockJob {
    /// Done.
    pub done: u64,
    /// All there is.
    pub total: u64,
}

fn c_text(t: &str) -> Result<std::ffi::CString, Fault> {
    std::ffi::CString::new(t).map_err(|_| Error::internal("A text for libvirt holds a NUL.").into())
}

/// The job that runs on a disk; none: there is none.
///
/// # Errors
/// What libvirt says.
pub fn block_job(d: &Domain, dev: &str) -> Result<Option<BlockJob>, Fault> {
    let dev = c_text(dev)?;
    let mut info = sys::virDomainBlockJobInfo { type_: 0, bandwidth: 0, cur: 0, end: 0 };
    // SAFETY: `d` holds a valid domain, the name is NUL-terminated, and `info` lives.
    match unsafe { sys::virDomainGetBlockJobInfo(d.as_ptr(), dev.as_ptr(), &raw mut info, 0) } {
        0 => Ok(None),
        1.. => Ok(Some(BlockJob { done: info.cur, total: info.end })),
        _ => Err(virt::error::Error::last_error().into()),
    }
}

/// Begins to bring the content of the file `top` down into `base`; `active`: it is the one that the guest writes.
///
/// # Errors
/// What libvirt says.
pub fn block_commit(d: &Domain, dev: &str, base: &str, top: &str, active: bool) -> Result<(), Fault> {
    let (dev, base, top) = (c_text(dev)?, c_text(base)?, c_text(top)?);
    let flags = if active { sys::VIR_DOMAIN_BLOCK_COMMIT_ACTIVE } else { 0 };
    // SAFETY: `d` holds a valid domain, and the three names are NUL-terminated.
    let r = unsafe { sys::virDomainBlockCommit(d.as_ptr(), dev.as_ptr(), base.as_ptr(), top.as_ptr(), 0, flags) };
    if r < 0 { Err(virt::error::Error::last_error().into()) } else { Ok(()) }
}

/// Ends an active commit that has caught up: from now on the guest writes the lower file.
///
/// # Errors
/// What libvirt says.
pub fn block_pivot(d: &Domain, dev: &str) -> Result<(), Fault> {
    let dev = c_text(dev)?;
    // SAFETY: `d` holds a valid domain, and the name is NUL-terminated.
    let r = unsafe { sys::virDomainBlockJobAbort(d.as_ptr(), dev.as_ptr(), sys::VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT) };
    if r < 0 { Err(virt::error::Error::last_error().into()) } else { Ok(()) }
}

/// Limits a disk of a running domain. `values` are libvirt's names (`virDomainSetBlockIoTune`); 0 is no limit.
///
/// # Errors
/// What libvirt says.
pub fn block_limits(d: &Domain, dev: &str, values: &[(&str, u64)]) -> Result<(), Fault> {
    /// Owns a list of parameters.
    struct Params(sys::virTypedParameterPtr, i32, i32);
    impl Drop for Params {
        fn drop(&mut self) {
            // SAFETY: the list came from libvirt, with this many entries, and is freed once.
            unsafe { sys::virTypedParamsFree(self.0, self.1) };
        }
    }
    let dev = c_text(dev)?;
    let mut params = Params(std::ptr::null_mut(), 0, 0);
    for (name, value) in values {
        let name = c_text(name)?;
        // SAFETY: pointer, length and room are those that libvirt gave, and the name is NUL-terminated.
        let r = unsafe { sys::virTypedParamsAddULLong(&raw mut params.0, &raw mut params.1, &raw mut params.2, name.as_ptr(), *value) };
        if r < 0 {
            return Err(virt::error::Error::last_error().into());
        }
    }
    // SAFETY: `d` holds a valid domain, the name is NUL-terminated, and the list has as many entries as it says.
    let r = unsafe { sys::virDomainSetBlockIoTune(d.as_ptr(), dev.as_ptr(), params.0, params.1, sys::VIR_DOMAIN_AFFECT_LIVE) };
    if r < 0 { Err(virt::error::Error::last_error().into()) } else { Ok(()) }
}

/// The first screen of a running domain, as the bytes that QEMU gives (at most `limit` of them).
///
/// # Errors
/// What libvirt says; `HostFailed` when there are more bytes.
pub fn screenshot(conn: &Connect, d: &Domain, limit: usize) -> Result<Vec<u8>, Fault> {
    /// Owns a stream; unlike the crate's own type it never panics.
    struct Stream(sys::virStreamPtr);
    impl Drop for Stream {
        fn drop(&mut self) {
            // SAFETY: the pointer came from virStreamNew and is freed once.
            unsafe { sys::virStreamFree(self.0) };
        }
    }
    // SAFETY: `conn` is open.
    let stream = unsafe { sys::virStreamNew(conn.as_ptr(), 0) };
    if stream.is_null() {
        return Err(virt::error::Error::last_error().into());
    }
    let stream = Stream(stream);
    // SAFETY: both pointers are valid; the answer is a string that we free.
    let kind = unsafe { sys::virDomainScreenshot(d.as_ptr(), stream.0, 0, 0) };
    if kind.is_null() {
        return Err(virt::error::Error::last_error().into());
    }
    // SAFETY: libvirt allocated the string with malloc for us.
    unsafe { libc::free(kind.cast::<c_void>()) };
    let mut out = Vec::new();
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        // SAFETY: the buffer has as many bytes as we say.
        let n = unsafe { sys::virStreamRecv(stream.0, buffer.as_mut_ptr().cast::<c_char>(), buffer.len()) };
        match usize::try_from(n) {
            Ok(0) => break,
            Ok(n) if out.len() + n <= limit => out.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Ok(_) => {
                // SAFETY: the stream is valid; its data are not wanted any more.
                unsafe { sys::virStreamAbort(stream.0) };
                return Err(Error::host(format!("The screenshot is larger than {limit} bytes.")).into());
            }
            Err(_) => {
                let e = virt::error::Error::last_error();
                // SAFETY: as above.
                unsafe { sys::virStreamAbort(stream.0) };
                return Err(e.into());
            }
        }
    }
    // SAFETY: the stream is valid and has been read to its end.
    unsafe { sys::virStreamFinish(stream.0) };
    Ok(out)
}

/// Registers libvirt's own event loop and runs it on a thread; once for the whole process, before any connection.
fn start_event_loop() -> Result<(), Error> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            // libvirt would print every error to standard error; ours go where they belong.
            virt::error::clear_error_callback();
            virt::event::event_register_default_impl().map_err(|e| e.message().to_string())?;
            std::thread::Builder::new()
                .name("libvirt-events".into())
                .spawn(|| {
                    loop {
                        if virt::event::event_run_default_impl().is_err() {
                            std::thread::sleep(Duration::from_millis(200));
                        }
                    }
                })
                .map(|_| ())
                .map_err(|e| e.to_string())
        })
        .clone()
        .map_err(|e| Error::host(format!("libvirt's event loop cannot be started: {e}.")))
}

fn register(conn: &Connect, event: c_int, heard: &Heard) -> Result<c_int, virt::error::Error> {
    // SAFETY: a function pointer of another signature is what libvirt's API asks for: for the lifecycle and I/O error
    // events it calls it with the arguments of `on_lifecycle` and `on_io_error`.
    let callback: sys::virConnectDomainEventGenericCallback = unsafe {
        if event == sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE as c_int {
            std::mem::transmute::<LifecycleCallback, sys::virConnectDomainEventGenericCallback>(on_lifecycle)
        } else {
            std::mem::transmute::<IoErrorCallback, sys::virConnectDomainEventGenericCallback>(on_io_error)
        }
    };
    let data = Box::into_raw(Box::new(heard.clone())).cast::<c_void>();
    // SAFETY: `conn` is open; `data` is a boxed `Heard` that libvirt hands to the callbacks and, in the end, to
    // `free_sender`.
    let id = unsafe { sys::virConnectDomainEventRegisterAny(conn.as_ptr(), std::ptr::null_mut(), event, callback, data, Some(free_sender)) };
    if id < 0 {
        let e = virt::error::Error::last_error();
        // SAFETY: libvirt did not take it, so it is ours to free.
        unsafe { free_sender(data) };
        return Err(e);
    }
    Ok(id)
}

fn register_close(conn: &Connect, heard: &Heard) -> bool {
    let data = Box::into_raw(Box::new(heard.clone())).cast::<c_void>();
    // SAFETY: as in `register`.
    let r = unsafe { sys::virConnectRegisterCloseCallback(conn.as_ptr(), Some(on_close), data, Some(free_sender)) };
    if r < 0 {
        // SAFETY: libvirt did not take it, so it is ours to free.
        unsafe { free_sender(data) };
    }
    r >= 0
}

type LifecycleCallback = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
type IoErrorCallback = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *const c_char, *const c_char, c_int, *mut c_void);

/// # Safety
/// Called by libvirt with the data given at registration.
unsafe extern "C" fn on_lifecycle(_: sys::virConnectPtr, domain: sys::virDomainPtr, event: c_int, _: c_int, data: *mut c_void) -> c_int {
    let held = match u32::try_from(event) {
        Ok(sys::VIR_DOMAIN_EVENT_SUSPENDED) => Some(true),
        Ok(sys::VIR_DOMAIN_EVENT_RESUMED | sys::VIR_DOMAIN_EVENT_STOPPED) => Some(false),
        _ => None,
    };
    let mut uuid = [0u8; 16];
    // SAFETY: libvirt gives a valid domain for the time of this call, and a UUID has 16 bytes; the rest is the caller's duty.
    unsafe {
        if let Some(held) = held
            && !data.is_null()
            && sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) == 0
        {
            (*data.cast::<Heard>()).pauses.note(Uuid::from_bytes(uuid), held);
        }
        bump(data);
    }
    0
}

/// # Safety
/// Called by libvirt with the data given at registration.
unsafe extern "C" fn on_io_error(_: sys::virConnectPtr, _: sys::virDomainPtr, _: *const c_char, _: *const c_char, _: c_int, data: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe { bump(data) };
}

/// # Safety
/// Called by libvirt with the data given at registration.
unsafe extern "C" fn on_close(_: sys::virConnectPtr, _: c_int, data: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe { bump(data) };
}

/// # Safety
/// `data` must be a boxed `Heard` that has not been freed.
unsafe fn bump(data: *mut c_void) {
    if !data.is_null() {
        // SAFETY: the caller's duty; it may be used from any thread.
        let heard = unsafe { &*data.cast::<Heard>() };
        heard.changes.send_modify(|n| *n = n.wrapping_add(1));
    }
}

/// # Safety
/// `data` must be a boxed `Heard` that nobody uses any more.
unsafe extern "C" fn free_sender(data: *mut c_void) {
    // SAFETY: the caller's duty.
    drop(unsafe { Box::from_raw(data.cast::<Heard>()) });
}
