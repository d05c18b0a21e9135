//! The cases: one file each, listed here, each with a test of the same name in `tests/`.

mod auth_vectors;
mod backoff;
mod backup_restore;
mod channel_readers;
mod clock_skew;
mod consent_required;
mod cross_group_authority;
mod dead_peer;
mod deny_list_everywhere;
mod discovery_amplification;
mod disk_full;
mod dns_change_mid_stream;
mod domain_canonical_form;
mod domains_on_one_line;
mod downgrade_refused;
mod ephemera_origin;
mod erasure;
mod every_ingress_verifies;
mod exactly_once;
mod expired_or_revoked_key;
mod fairness;
mod fan_out;
mod first_contact_anchors;
mod floods;
mod framing_isolation;
mod fresh_keys_per_install;
mod gap_repair;
mod group_takeover_attempts;
mod hello_binding;
mod home_down;
mod home_integrity;
mod home_restored;
mod home_takeover;
mod home_transfer;
mod hostile;
mod hostile_member_cost;
mod idn_homograph;
mod kill_at_random;
mod kill_before_ack;
mod kill_sender;
mod long_partition;
mod media_safety;
mod mutual_tls_no_eku;
mod no_enumeration;
mod no_signing_oracle;
mod non_member_reads;
mod order_per_conversation;
mod origin_must_match_user;
mod oversize_everything;
mod parser_differential;
mod path_body_agreement;
mod peer_down;
mod poison_in_batch;
mod queue_bounds;
mod rate_limit_isolation;
mod raw_bytes_verified;
mod reference_ownership;
mod rejected_stays_rejected;
mod rollback_equivocation;
mod root_recovery;
mod signing_key_rotation;
mod srv_failover;
mod ssrf_targets;
mod store_what_you_serve;
mod strict_ed25519;
mod three_outages;
mod tokens_survive;
mod unauthenticated_pressure;
mod version_skew;

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::{Result, Stage};

/// Something that must hold in a network, whatever happens to it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its numbers in the list of conformance, such as `F25`; empty for one of our own.
    pub ids: &'static str,
    /// How it is called on the command line.
    pub name: &'static str,
    /// What must hold, as a sentence.
    pub proves: &'static str,
    /// The domains it needs: set up and not started, so that it may configure them first.
    pub domains: &'static [&'static str],
    /// What it does to servers beside talking with them: nothing of that can be done to one that the
    /// suite did not start.
    pub needs: &'static [Need],
    /// Time it may take.
    pub within: Duration,
    /// What happens.
    pub play: for<'a> fn(&'a mut Stage) -> LocalBoxFuture<'a, Result<()>>,
}

/// What a case does to a server beside talking with it, as a peer and as a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// Tells it by test hooks when to end, or what time it is.
    Hooks,
    /// Configures, stops, kills or starts it.
    Starting,
    /// Gives commands as its operator.
    Operator,
    /// Reads its log or its files, or measures its process.
    Inside,
    /// Cuts or changes the ways between it and other servers.
    Ways,
}

impl Need {
    /// What has to be done, as the reason why a case is not played.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Hooks => "to tell the server by test hooks what to do",
            Self::Starting => "to configure, stop and start the server",
            Self::Operator => "to give commands as the server's operator",
            Self::Inside => "to look into the server's log, files or memory",
            Self::Ways => "to cut the ways between servers",
        }
    }
}

/// All of them.
pub const ALL: &[Case] = &[
    tokens_survive::CASE,
    peer_down::CASE,
    first_contact_anchors::CASE,
    srv_failover::CASE,
    dns_change_mid_stream::CASE,
    fresh_keys_per_install::CASE,
    ssrf_targets::CASE,
    domain_canonical_form::CASE,
    idn_homograph::CASE,
    kill_at_random::CASE,
    exactly_once::CASE,
    kill_before_ack::CASE,
    kill_sender::CASE,
    three_outages::CASE,
    backoff::CASE,
    store_what_you_serve::CASE,
    poison_in_batch::CASE,
    queue_bounds::CASE,
    dead_peer::CASE,
    fairness::CASE,
    disk_full::CASE,
    clock_skew::CASE,
    consent_required::CASE,
    no_enumeration::CASE,
    deny_list_everywhere::CASE,
    long_partition::CASE,
    order_per_conversation::CASE,
    home_down::CASE,
    home_integrity::CASE,
    home_transfer::CASE,
    home_takeover::CASE,
    media_safety::CASE,
    discovery_amplification::CASE,
    fan_out::CASE,
    channel_readers::CASE,
    backup_restore::CASE,
    signing_key_rotation::CASE,
    expired_or_revoked_key::CASE,
    rollback_equivocation::CASE,
    root_recovery::CASE,
    erasure::CASE,
    gap_repair::CASE,
    home_restored::CASE,
    raw_bytes_verified::CASE,
    parser_differential::CASE,
    origin_must_match_user::CASE,
    ephemera_origin::CASE,
    reference_ownership::CASE,
    rejected_stays_rejected::CASE,
    path_body_agreement::CASE,
    cross_group_authority::CASE,
    group_takeover_attempts::CASE,
    non_member_reads::CASE,
    strict_ed25519::CASE,
    no_signing_oracle::CASE,
    every_ingress_verifies::CASE,
    mutual_tls_no_eku::CASE,
    hello_binding::CASE,
    domains_on_one_line::CASE,
    downgrade_refused::CASE,
    version_skew::CASE,
    framing_isolation::CASE,
    oversize_everything::CASE,
    unauthenticated_pressure::CASE,
    auth_vectors::CASE,
    rate_limit_isolation::CASE,
    hostile_member_cost::CASE,
];

/// The case of this name.
#[must_use]
pub fn case(name: &str) -> Option<&'static Case> {
    ALL.iter().find(|it| it.name == name)
}
