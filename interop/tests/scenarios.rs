//! Every scenario as a test. `FREEHOLD_SEED` repeats a run, `FREEHOLD_BIN` names another server.

use freehold_interop::{play, scenario, scenarios, seed_from_environment};

macro_rules! tests {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn every_scenario_is_tested() {
            let tested = [$(stringify!($name)),*];
            let listed: Vec<_> = scenarios::ALL.iter().map(|it| it.name).collect();
            assert_eq!(listed, tested);
        }
    };
}

tests! {
    tokens_survive
    peer_down
    kill_at_random
}

#[expect(
    clippy::print_stderr,
    reason = "the seed must be known when a run hangs or fails"
)]
fn run(name: &str) {
    let seed = seed_from_environment().unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("{name}: FREEHOLD_SEED={seed}");
    let scenario = scenario(name).expect("every_scenario_is_tested compares the lists");
    if let Err(report) = play(scenario, seed) {
        panic!("{report}");
    }
}
