//! Every case as a test. `FREEHOLD_SEED` repeats a run, `FREEHOLD_BIN` names another server.

use freehold_interop::{Verdict, case, cases, play, seed_from_environment};

macro_rules! tests {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn every_case_is_tested() {
            let tested = [$(stringify!($name)),*];
            let listed: Vec<_> = cases::ALL.iter().map(|it| it.name).collect();
            assert_eq!(listed, tested);
        }
    };
}

tests! {
    tokens_survive
    peer_down
    first_contact_anchors
    srv_failover
    dns_change_mid_stream
    fresh_keys_per_install
    ssrf_targets
    domain_canonical_form
    idn_homograph
    kill_at_random
    exactly_once
    kill_before_ack
    kill_sender
    three_outages
    backoff
    store_what_you_serve
    poison_in_batch
    queue_bounds
    dead_peer
    fairness
    disk_full
    clock_skew
    consent_required
    no_enumeration
    deny_list_everywhere
    long_partition
    order_per_conversation
    home_down
    home_integrity
    home_transfer
    home_takeover
    media_safety
    discovery_amplification
    fan_out
    channel_readers
    backup_restore
    signing_key_rotation
    expired_or_revoked_key
    rollback_equivocation
    root_recovery
    erasure
    gap_repair
    home_restored
    raw_bytes_verified
    parser_differential
    origin_must_match_user
    ephemera_origin
    reference_ownership
    rejected_stays_rejected
    path_body_agreement
    cross_group_authority
    group_takeover_attempts
    non_member_reads
    strict_ed25519
    no_signing_oracle
    every_ingress_verifies
    mutual_tls_no_eku
    hello_binding
    domains_on_one_line
    downgrade_refused
    version_skew
    framing_isolation
    oversize_everything
    unauthenticated_pressure
    auth_vectors
    rate_limit_isolation
    hostile_member_cost
}

#[expect(
    clippy::print_stderr,
    reason = "the seed must be known when a run hangs or fails"
)]
fn run(name: &str) {
    let seed = seed_from_environment().unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("{name}: FREEHOLD_SEED={seed}");
    let case = case(name).expect("every_case_is_tested compares the lists");
    match play(case, seed).verdict {
        Verdict::Passed => {}
        Verdict::Skipped(why) => eprintln!("{name} is not played: {why}"),
        Verdict::Failed(report) => panic!("{report}"),
    }
}
