//! An installation of the size that a bench wants: an operator with a token, hosts, VMs.

use anyhow::Result;
use serde_json::json;
use std::path::Path;
use uuid::Uuid;
use virga_manager::secret::{self, Kind};
use virga_model::host::{Host, HostCpu, HostFacts, HostNic};
use virga_model::network::{Network, NetworkSpec};
use virga_model::role::{Role, RoleBinding, Scope};
use virga_model::user::{ApiToken, User};
use virga_model::vm::{Desired, GuestInfo, Observed, StopMode, Vm, VmSpec, VmState};
use virga_model::{HostId, NetworkId, RoleBindingId, Time, TokenId, UserId, VmId};
use virga_store::Store;

/// VMs on each host: 80,000 on 1,024.
pub const VMS_PER_HOST: u32 = 78;
/// VMs written in one transaction.
const BATCH: u32 = 500;

/// The nth VM's name.
#[must_use]
pub fn vm_name(n: u32) -> String {
    format!("vm-{n:06}")
}

/// The nth VM's id.
#[must_use]
pub fn vm_id(n: u32) -> VmId {
    VmId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | (u128::from(n) + 1)))
}

/// The nth host's id.
#[must_use]
pub fn host_id(n: u32) -> HostId {
    HostId(Uuid::from_u128(0x0190_0000_0000_7000_9000_0000_0000_0000 | (u128::from(n) + 1)))
}

/// Writes an operator with an API token; the token.
///
/// # Errors
/// What the database says.
pub async fn operator(store: &Store, now: Time) -> Result<(UserId, String)> {
    let id = UserId(Uuid::now_v7());
    let user = User {
        id,
        name: "bench".into(),
        password_hash: String::new(),
        must_change: false,
        disabled: false,
        failures: 0,
        locked_until: None,
        generation: 1,
        created_at: now,
    };
    let fresh = secret::generate(Kind::Token);
    let mut tx = store.write().await?;
    virga_store::user::insert(&mut tx, &user).await?;
    let binding = RoleBinding { id: RoleBindingId(Uuid::now_v7()), user: id, role: Role::Admin, scope: Scope::All };
    virga_store::role_binding::insert(&mut tx, &binding).await?;
    let token = ApiToken {
        id: TokenId(Uuid::now_v7()),
        name: "bench".into(),
        user: id,
        secret_sha256: fresh.sha256,
        role: None,
        scope: None,
        expires_at: now.plus_seconds(86_400),
        used_at: Some(now),
        created_at: now,
    };
    virga_store::token::insert(&mut tx, &token).await?;
    tx.commit().await?;
    Ok((id, fresh.text))
}

/// Writes hosts and VMs for `vms` VMs; every other VM runs.
///
/// # Errors
/// What the database says.
pub async fn inventory(store: &Store, owner: UserId, vms: u32, now: Time) -> Result<()> {
    hosts(store, vms.div_ceil(VMS_PER_HOST).max(1), now).await?;
    let network = NetworkId(Uuid::now_v7());
    let mut tx = store.write().await?;
    let net =
        Network { id: network, name: "lan".into(), spec: NetworkSpec::Nat { cidr: "10.20.0.0/16".into() }, generation: 1, deleting: false, created_at: now };
    virga_store::network::insert(&mut tx, &net).await?;
    tx.commit().await?;
    let mut n = 0;
    while n < vms {
        let mut tx = store.write().await?;
        for i in n..(n + BATCH).min(vms) {
            virga_store::vm::insert(&mut tx, &vm(i, owner, network, now)?).await?;
        }
        tx.commit().await?;
        n += BATCH;
    }
    Ok(())
}

/// Writes hosts.
///
/// # Errors
/// What the database says.
pub async fn hosts(store: &Store, hosts: u32, now: Time) -> Result<()> {
    let mut tx = store.write().await?;
    for n in 0..hosts {
        virga_store::host::insert(&mut tx, &host(n, now)).await?;
    }
    Ok(tx.commit().await?)
}

fn host(n: u32, now: Time) -> Host {
    let facts = HostFacts {
        host_name: format!("rack-{:02}-host-{:02}", n / 32, n % 32),
        os: "Debian GNU/Linux 12 (bookworm)".into(),
        cpu: HostCpu { model: "Example 8480".into(), sockets: 2, cores: 56, threads: 2, logical: 224, ..HostCpu::default() },
        memory_bytes: 1 << 40,
        store_total_bytes: 64 << 40,
        store_free_bytes: 40 << 40,
        accelerator: "kvm".into(),
        uefi: true,
        ovs: true,
        nics: vec![HostNic { name: "eth0".into(), mac: "52:54:00:00:00:01".into(), up: true, mtu: 1500, speed_mbit: Some(25_000), addresses: vec![] }],
        ..HostFacts::default()
    };
    Host {
        id: host_id(n),
        name: facts.host_name.clone(),
        address: format!("10.0.{}.{}:8445", n / 250, n % 250 + 1),
        maintenance: false,
        certificate_sha256: format!("{n:064x}"),
        generation: 1,
        epoch: 1,
        facts,
        last_report_at: Some(now),
        created_at: now,
    }
}

fn vm(n: u32, owner: UserId, network: NetworkId, now: Time) -> Result<Vm> {
    let [_, _, a, b] = (n + 1).to_be_bytes();
    let spec: VmSpec = serde_json::from_value(json!({
        "cpu": {"count": 2, "max": 8},
        "memory": {"bytes": 4u64 << 30},
        "disks": [{"id": Uuid::from_u128(u128::from(n) << 8 | 1), "size_bytes": 40u64 << 30, "bus": "virtio", "cache": "directsync"}],
        "nics": [{"id": Uuid::from_u128(u128::from(n) << 8 | 2), "network": network, "mac": format!("52:54:00:{:02x}:{a:02x}:{b:02x}", n >> 16), "model": "virtio"}],
    }))?;
    let running = n.is_multiple_of(2);
    let (desired, state) = if running { (Desired::Running, VmState::Running) } else { (Desired::Stopped, VmState::Stopped) };
    let guest = GuestInfo { ips: if running { vec![format!("10.20.{a}.{b}/16")] } else { vec![] }, ..GuestInfo::default() };
    Ok(Vm {
        id: vm_id(n),
        name: vm_name(n),
        description: format!("VM {n} of the bench"),
        labels: [("env".to_string(), if n.is_multiple_of(3) { "prod" } else { "test" }.to_string())].into(),
        owner,
        spec,
        former_spec: None,
        desired,
        stop_mode: StopMode::default(),
        generation: 1,
        host: Some(host_id(n / VMS_PER_HOST)),
        placement: Some("chosen among hosts with room".into()),
        observed: Observed { generation: 1, revision: 1, state, settled: true, guest, ..Observed::default() },
        created_at: now,
        updated_at: now,
    })
}

/// Where the SQLite file of a state folder is.
#[must_use]
pub fn database(state: &Path) -> String {
    format!("sqlite://{}", state.join("manager.db").display())
}
