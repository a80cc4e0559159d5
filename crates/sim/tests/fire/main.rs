//! The real agent under fire, over a simulated machine that misbehaves (reliability.md 2.3, 5.2): killed at every crash
//! point of every operation, restarted over fifty VMs, with a hypervisor that never answers, guests that hang or lie, and
//! no room for its journal. States become unknown and never "stopped", nothing is destroyed by inference, and the
//! heartbeat goes on.

mod hostile;
mod lab;
mod operations;

use hostile::Hypervisor_;
use lab::{Lab, order, vm};
use virga_model::host::SILENT_AFTER_MS;
use virga_model::order::NodeAnswer;
use virga_model::stats::Counters;
use virga_model::vm::{AgentState, Desired, GuestInfo, StopMode, VmState};

const MANY: u128 = 50;

async fn with_running(n: u128) -> Lab {
    let mut lab = Lab::new().await;
    for i in 1..=n {
        lab.ensure(&order(i, 1, Desired::Running)).await;
    }
    lab.run(60_000).await;
    for i in 1..=n {
        let r = lab.report(vm(i)).expect("reported").observed;
        assert_eq!((r.state, r.settled), (VmState::Running, true), "vm{i}");
    }
    lab
}

/// What was done to guests, from line `from` of the machine's log.
fn done_since(lab: &Lab, from: usize) -> Vec<String> {
    lab.host.sim.log().split_off(from)
}

#[tokio::test]
async fn fifty_running_vms_are_adopted_and_none_is_disturbed() {
    let mut lab = with_running(MANY).await;
    let (from, began) = (lab.host.sim.log().len(), lab.clock.now_ms());
    lab.manager.vms.lock().unwrap().clear();
    lab.restart_agent().await;
    let adopted = |lab: &Lab| {
        let vms = lab.manager.vms.lock().unwrap();
        (1..=MANY).all(|i| vms.get(&vm(i)).is_some_and(|r| r.observed.settled && r.observed.state == VmState::Running && r.observed.drift.is_empty()))
    };
    while !adopted(&lab) {
        assert!(lab.clock.now_ms() < began + 60_000, "not adopted");
        lab.run(1_000).await;
    }
    println!("adopted {MANY} VMs within {} simulated ms", lab.clock.now_ms() - began);
    lab.run(30_000).await;
    assert!(done_since(&lab, from).is_empty(), "nothing is done to them: {:?}", done_since(&lab, from));
}

#[tokio::test]
async fn a_hypervisor_that_never_answers_makes_states_unknown_and_the_heart_beats_on() {
    for mood in [Hypervisor_::Never, Hypervisor_::Slowly(30_000)] {
        let mut lab = with_running(3).await;
        let from = lab.host.sim.log().len();
        lab.host.set(|w| w.hypervisor = mood);
        lab.manager.said.lock().unwrap().clear();
        let began = lab.clock.now_ms();
        lab.ensure(&order(1, 2, Desired::Stopped)).await;
        lab.run(120_000).await;
        for i in 1..=3 {
            assert_eq!(lab.report(vm(i)).unwrap().observed.state, VmState::Unknown, "vm{i}");
        }
        let silence = lab.longest_silence(began);
        assert!(silence < u64::try_from(SILENT_AFTER_MS).unwrap(), "no report for {silence} ms");
        let said = lab.manager.said.lock().unwrap().clone();
        assert!(said.iter().all(|(_, s)| matches!(s, VmState::Running | VmState::Unknown)), "{said:?}");
        if mood == Hypervisor_::Never {
            assert!(done_since(&lab, from).is_empty(), "nothing is done by inference");
            // A call that never comes back is a broken host: what was begun goes on with the agent's next life.
            lab.host.set(|w| w.hypervisor = Hypervisor_::Well);
            lab.restart_agent().await;
        }
        lab.host.set(|w| w.hypervisor = Hypervisor_::Well);
        lab.run(60_000).await;
        assert_eq!(lab.report(vm(1)).unwrap().observed.state, VmState::Stopped, "what was ordered meanwhile is done");
        assert_eq!(lab.report(vm(2)).unwrap().observed.state, VmState::Running);
    }
}

#[tokio::test]
async fn one_hung_guest_holds_up_nobody_else() {
    let mut lab = with_running(6).await;
    // Every call about one VM hangs for good, its guest agent included.
    lab.host.set(|w| {
        w.hung.insert(vm(1));
    });
    let began = lab.clock.now_ms();
    lab.ensure(&order(1, 2, Desired::Paused)).await;
    lab.ensure(&order(2, 2, Desired::Paused)).await;
    lab.run(30_000).await;
    assert_eq!(lab.report(vm(2)).unwrap().observed.state, VmState::Paused, "others are worked on");
    let hung = lab.report(vm(1)).unwrap().observed;
    assert_eq!((hung.state, hung.settled), (VmState::Running, false), "and the hung one is not said to be done");
    assert!(lab.longest_silence(began) < u64::try_from(SILENT_AFTER_MS).unwrap());
    // The guests of the others are still asked.
    lab.ensure(&order(7, 1, Desired::Running)).await;
    lab.run(60_000).await;
    assert_eq!(lab.report(vm(7)).unwrap().observed.guest.agent, AgentState::Connected);
}

#[tokio::test]
async fn guests_that_hang_in_their_start_give_way_to_others() {
    let mut lab = Lab::new().await;
    let slow = (1..=8).map(vm).collect();
    lab.host.set(|w| w.slow_starts = Some((slow, 90_000)));
    for i in 1..=9 {
        lab.ensure(&order(i, 1, Desired::Running)).await;
    }
    lab.run(400_000).await;
    assert_eq!(lab.report(vm(9)).unwrap().observed.state, VmState::Running, "the ninth came to its turn");
    assert!(!lab.report(vm(1)).unwrap().observed.settled);
}

#[tokio::test]
async fn guests_that_lie_are_cut_short_and_the_report_stays_small() {
    let mut lab = with_running(3).await;
    let long = "a\u{1b}[31m\r\n\u{202e}".repeat(1 << 14);
    let guest = GuestInfo {
        agent: AgentState::Connected,
        agent_version: Some(long.clone()),
        host_name: Some(long.clone()),
        os: Some("<script>alert(1)</script>".into()),
        kernel: Some(String::new()),
        ips: (0..100_000u32)
            .map(|i| format!("10.{}.{}.{}", i >> 16, (i >> 8) & 255, i & 255))
            .chain(["not an address".into(), long.clone(), "::1".into()])
            .collect(),
        file_systems: (0..200)
            .map(|_| virga_model::vm::GuestFileSystem {
                mount_point: long.clone(),
                kind: long.clone(),
                total_bytes: Some(u64::MAX),
                used_bytes: Some(u64::MAX),
            })
            .collect(),
    };
    lab.host.set(|w| w.guest = Some(guest));
    *lab.manager.largest.lock().unwrap() = 0;
    lab.run(60_000).await;
    let seen = lab.report(vm(1)).unwrap().observed;
    assert_eq!(seen.state, VmState::Running);
    assert!(seen.guest.ips.len() <= 64 && seen.guest.ips.iter().all(|i| i.parse::<std::net::IpAddr>().is_ok()), "{}", seen.guest.ips.len());
    assert!(seen.guest.file_systems.len() <= 64);
    let name = seen.guest.host_name.unwrap();
    assert!(name.chars().count() <= 255 && !name.chars().any(char::is_control), "{name}");
    let largest = *lab.manager.largest.lock().unwrap();
    assert!(largest < 1 << 20, "a report of {largest} bytes");
}

#[tokio::test]
async fn counters_that_are_nonsense_give_finite_rates_of_known_vms_only() {
    let mut lab = with_running(2).await;
    let max = Counters {
        cpu_ns: u64::MAX,
        cpus: 0,
        memory_bytes: u64::MAX,
        disk_read_bytes: u64::MAX,
        disk_write_bytes: u64::MAX,
        net_in_bytes: u64::MAX,
        net_out_bytes: u64::MAX,
    };
    for counters in [max, Counters::default(), max] {
        let foreign = (1000..20_000).map(|i| (vm(i), counters));
        lab.host.set(|w| w.counters = Some([(vm(1), counters), (vm(2), counters)].into_iter().chain(foreign).collect()));
        lab.run(20_000).await;
    }
    let samples = lab.manager.samples.lock().unwrap().clone();
    assert!(!samples.is_empty());
    for s in samples {
        assert!(s.vm == vm(1) || s.vm == vm(2), "{}", s.vm);
        let all = [s.sample.cpu, s.sample.disk_read_bytes, s.sample.disk_write_bytes, s.sample.net_in_bytes, s.sample.net_out_bytes];
        assert!(all.iter().all(|r| r.is_finite() && *r >= 0.0) && s.sample.cpu <= 1.0, "{s:?}");
    }
}

#[tokio::test]
async fn floods_of_events_are_weathered_and_lost_events_are_made_up_for() {
    let mut lab = with_running(2).await;
    let (from, began) = (lab.manager.at.lock().unwrap().len(), lab.clock.now_ms());
    // Duplicates, events of long ago, events about nothing: each says only "look".
    for _ in 0..60 {
        for _ in 0..1_000 {
            lab.host.event();
        }
        lab.run(1_000).await;
    }
    assert!(lab.longest_silence(began) < u64::try_from(SILENT_AFTER_MS).unwrap());
    println!("{} reports in 60 simulated s of 60000 events", lab.manager.at.lock().unwrap().len() - from);
    assert_eq!(lab.report(vm(1)).unwrap().observed.state, VmState::Running, "events conclude nothing");
    // And no event at all: the machine tells of it at the next look.
    lab.host.sim.meddle(vm(1), Some(VmState::Stopped));
    lab.run(10_000).await;
    let seen = lab.report(vm(1)).unwrap().observed;
    assert_eq!((seen.state, seen.drift.len()), (VmState::Stopped, 1));
}

#[tokio::test]
async fn without_room_for_the_journal_new_work_is_refused_and_reports_go_on() {
    let mut lab = with_running(2).await;
    *lab.journal.full.lock().unwrap() = true;
    let (from, began) = (lab.host.sim.log().len(), lab.clock.now_ms());
    for o in [order(1, 2, Desired::Stopped), order(3, 1, Desired::Running)] {
        let Some(NodeAnswer::Refused { error }) = lab.ensure(&o).await else { panic!("must be refused") };
        assert!(error.message.contains("journal") && error.message.contains("open files"), "{error}");
    }
    lab.run(60_000).await;
    assert!(lab.longest_silence(began) < u64::try_from(SILENT_AFTER_MS).unwrap());
    assert!(done_since(&lab, from).is_empty(), "nothing is done that could not be written down: {:?}", done_since(&lab, from));
    assert_eq!(lab.report(vm(1)).unwrap().observed.state, VmState::Running);
    assert!(lab.report(vm(3)).is_none(), "a VM whose order was refused is not reported");
    *lab.journal.full.lock().unwrap() = false;
    assert_eq!(lab.bring(&order(3, 1, Desired::Running)).await.observed.state, VmState::Running);
}

#[tokio::test]
async fn a_guest_that_never_goes_down_can_still_be_cut_off() {
    let mut lab = with_running(1).await;
    lab.host.sim.set_faults(|f| f.guests_ignore_shutdown = true);
    lab.ensure(&virga_model::order::VmOrder { stop_mode: StopMode::Graceful, ..order(1, 2, Desired::Stopped) }).await;
    lab.run(60_000).await;
    assert_eq!(lab.report(vm(1)).unwrap().observed.state, VmState::Running);
    assert_eq!(lab.bring(&order(1, 3, Desired::Stopped)).await.observed.state, VmState::Stopped);
}
