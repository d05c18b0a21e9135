//! Calls between two people: who rings, who takes it, how it ends (fact sheet, section 5.4).

use std::{
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use freehold::clock::SystemClock;
use freehold_interop::{Frame, FrameKind};
use freehold_proto::Clock;
use serde_json::{Value, json};

use crate::{
    guest::{Guest, SOON},
    net::{House, Net},
};

const CALLS: &str = "[calls]\nice_urls = [\"stun:turn.test:3478\", \"turn:turn.test:3478\"]\n\
                     turn_secret = \"secret\"\nring_seconds = 2";

/// Ann and Ben in a chat, each with a client that has it open; Ben has a second one that has not.
struct Line {
    _net: Net,
    _house: House,
    ann: Guest,
    ben: Guest,
    ben_too: Guest,
}

impl Line {
    async fn new() -> Self {
        let net = Net::new().await;
        let house = net.domain_with("alpha.test", CALLS).await;
        let (mut ann, mut ben) = (house.guest("ann").await, house.guest("ben").await);
        ann.opens(&ben).await;
        ben.opens(&ann).await;
        let ben_too = ben.second_session().await;
        Self {
            _net: net,
            _house: house,
            ann,
            ben,
            ben_too,
        }
    }

    async fn rings(&mut self) -> u64 {
        self.ann
            .writes(&self.ben, json!({"webrtc": "started"}), " ")
            .await
    }
}

impl Guest {
    async fn signals(&mut self, other: &Self, event: &str, seq: u64, payload: Value) {
        let topic = self.name_of(other);
        let note =
            json!({"topic": topic, "what": "call", "seq": seq, "event": event, "payload": payload});
        self.session.send_note(note).await.unwrap();
    }

    async fn is_signalled(&mut self, event: &str) -> Value {
        let fits = |it: &Frame| {
            let of = it.kind == FrameKind::Info && it.text("what") == "call";
            of && it.text("event") == event
        };
        self.session.wait_for(event, SOON, fits).await.unwrap().body
    }

    /// Waits for the message that says how the call stands.
    async fn sees_call(&mut self, state: &str) -> Value {
        let fits = |it: &Frame| it.kind == FrameKind::Data && it.body["head"]["webrtc"] == state;
        self.session.wait_for(state, SOON, fits).await.unwrap().body
    }
}

#[tokio::test]
async fn two_people_talk_and_only_their_two_clients_hear_the_signals() {
    let mut line = Line::new().await;
    let seq = line.rings().await;
    line.ben.sees_call("started").await;
    // The client that does not have the chat open rings too.
    line.ben_too.sees_call("started").await;
    line.ben
        .signals(&line.ann, "ringing", seq, json!(null))
        .await;
    line.ann.is_signalled("ringing").await;
    line.ben
        .signals(&line.ann, "accept", seq, json!(null))
        .await;
    line.ann.is_signalled("accept").await;
    line.ben_too.is_signalled("accept").await;
    let accepted = line.ann.sees_call("accepted").await;
    assert_eq!(accepted["head"]["replace"], format!(":{seq}"));
    assert_eq!(accepted["from"], line.ann.person.id);
    line.ann
        .signals(&line.ben, "offer", seq, json!({"sdp": "o"}))
        .await;
    assert_eq!(line.ben.is_signalled("offer").await["payload"]["sdp"], "o");
    line.ben
        .signals(&line.ann, "answer", seq, json!({"sdp": "a"}))
        .await;
    assert_eq!(line.ann.is_signalled("answer").await["payload"]["sdp"], "a");
    line.ben
        .signals(&line.ann, "ice-candidate", seq, json!({"c": 1}))
        .await;
    line.ann.is_signalled("ice-candidate").await;
    line.ben
        .signals(&line.ann, "hang-up", seq, json!(null))
        .await;
    line.ann.is_signalled("hang-up").await;
    let ended = line.ann.sees_call("finished").await;
    assert_eq!(ended["head"]["replace"], format!(":{seq}"));
    line.rings().await;
}

#[tokio::test]
async fn a_call_that_nobody_takes_is_missed() {
    let mut line = Line::new().await;
    line.rings().await;
    line.ben.sees_call("missed").await;
    line.ann.is_signalled("hang-up").await;
    line.ben_too.is_signalled("hang-up").await;
}

#[tokio::test]
async fn a_call_is_declined_by_any_client_of_the_one_who_is_called() {
    let mut line = Line::new().await;
    let seq = line.rings().await;
    line.ben_too
        .signals(&line.ann, "hang-up", seq, json!(null))
        .await;
    line.ann.sees_call("declined").await;
    line.ben.is_signalled("hang-up").await;
}

#[tokio::test]
async fn a_client_that_is_gone_ends_its_call() {
    let mut line = Line::new().await;
    line.rings().await;
    line.ben.sees_call("started").await;
    drop(line.ann.session);
    line.ben.sees_call("disconnected").await;
}

#[tokio::test]
async fn a_line_that_is_taken_is_busy_and_calls_need_two_and_a_server_for_them() {
    let mut line = Line::new().await;
    line.rings().await;
    let topic = line.ben.name_of(&line.ann);
    let call = |topic: &str, state: &str| json!({"topic": topic, "noecho": true, "head": {"webrtc": state}, "content": " "});
    let refused = line.ben.is_refused("pub", call(&topic, "started")).await;
    assert_eq!(refused, (486, "busy here".to_owned()));
    let refused = line.ben.is_refused("pub", call(&topic, "accepted")).await;
    assert_eq!(refused, (400, "malformed".to_owned()));
    let made = line
        .ann
        .session
        .request("sub", json!({"topic": "new1"}))
        .await
        .unwrap();
    let refused = line
        .ann
        .is_refused("pub", call(made.text("topic"), "started"))
        .await;
    assert_eq!(refused, (403, "permission denied".to_owned()));
    let net = Net::new().await;
    let house = net.domain("alpha.test").await;
    let (mut ann, ben) = (house.guest("ann").await, house.guest("ben").await);
    ann.opens(&ben).await;
    let topic = ann.name_of(&ben);
    let refused = ann.is_refused("pub", call(&topic, "started")).await;
    assert_eq!(refused, (501, "not implemented".to_owned()));
}

#[tokio::test]
async fn clients_are_given_passwords_for_the_turn_server_that_end_by_themselves() {
    let line = Line::new().await;
    let answer = line.ann.session.hello().clone();
    let servers = &answer["iceServers"];
    assert_eq!(servers[0], json!({"urls": ["stun:turn.test:3478"]}));
    let turn = &servers[1];
    assert_eq!(turn["urls"], json!(["turn:turn.test:3478"]));
    let ends: u64 = turn["username"].as_str().unwrap().parse().unwrap();
    let day = Duration::from_secs(86_400);
    assert_eq!(ends, 1_767_323_045 + day.as_secs());
    assert!(turn["credential"].as_str().unwrap().len() == 28);
    assert_eq!(answer["callTimeout"], 2);
}

/// A coturn server of this scene, which knows the same secret as the domain.
struct Turn {
    process: Child,
    port: u16,
}

impl Turn {
    fn start() -> Self {
        let program = "/usr/bin/turnserver";
        assert!(
            Path::new(program).exists(),
            "{program} is missing: run `make debian` first"
        );
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let process = Command::new(program)
            .args([
                "-n",
                "--no-cli",
                "--no-tls",
                "--no-dtls",
                "--allow-loopback-peers",
            ])
            .args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1"])
            .args([
                "--listening-port",
                &port.to_string(),
                "--realm",
                "alpha.test",
            ])
            .args(["--use-auth-secret", "--static-auth-secret", "secret"])
            .args(["--log-file", "stdout", "--pidfile", "/dev/null"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port }
    }

    /// Whether somebody with this name and password gets a way through.
    fn takes(&self, name: &str, password: &str) -> bool {
        let output = Command::new("timeout")
            .args(["20", "turnutils_uclient", "-u", name, "-w", password])
            .args(["-y", "-n", "1", "-p", &self.port.to_string(), "127.0.0.1"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        said.contains("Total lost packets 0")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[tokio::test]
async fn a_turn_server_takes_the_passwords_that_clients_are_given_and_no_others() {
    let turn = Turn::start();
    let net = Net::new().await;
    // It judges by the time of the machine.
    net.clock.set(SystemClock.now());
    let house = net.domain_with("alpha.test", CALLS).await;
    let ann = house.guest("ann").await;
    let servers = &ann.session.hello()["iceServers"];
    let text = |key: &str| servers[1][key].as_str().unwrap().to_owned();
    let (name, password) = (text("username"), text("credential"));
    let attempts = 0..20;
    let taken = attempts.into_iter().any(|_| {
        std::thread::sleep(Duration::from_millis(250));
        turn.takes(&name, &password)
    });
    assert!(taken, "coturn does not take {name} with {password}");
    assert!(!turn.takes(&name, "another password"));
}

/// Ann of alpha and Bob of beta, who know each other and have the chat open; Bob has a second client
/// that has not.
struct LongLine {
    ann: Guest,
    bob: Guest,
    bob_too: Guest,
    beta: House,
    _alpha: House,
    _net: Net,
}

impl LongLine {
    async fn new() -> Self {
        let net = Net::new().await;
        let alpha = net.domain_with("alpha.test", CALLS).await;
        let beta = net.domain_with("beta.test", CALLS).await;
        let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
        ann.meets(&mut bob).await;
        let bob_too = bob.second_session().await;
        Self {
            ann,
            bob,
            bob_too,
            beta,
            _alpha: alpha,
            _net: net,
        }
    }

    /// Ann calls: the position of the call at alpha and at beta.
    async fn rings(&mut self) -> (u64, u64) {
        let here = self
            .ann
            .writes(&self.bob, json!({"webrtc": "started"}), " ")
            .await;
        let there = self.bob.sees_call("started").await["seq"].as_u64().unwrap();
        (here, there)
    }
}

#[tokio::test]
async fn two_people_of_two_domains_talk_and_the_callers_domain_says_how_long() {
    let mut line = LongLine::new().await;
    // The two number the call differently.
    line.bob.says(&line.ann, "I am here").await;
    let (here, there) = line.rings().await;
    line.bob_too.sees_call("started").await;
    let nothing = json!(null);
    line.bob
        .signals(&line.ann, "ringing", there, nothing.clone())
        .await;
    assert_eq!(line.ann.is_signalled("ringing").await["seq"], here);
    line.bob
        .signals(&line.ann, "accept", there, nothing.clone())
        .await;
    line.ann.is_signalled("accept").await;
    line.bob_too.is_signalled("accept").await;
    let accepted = line.bob.sees_call("accepted").await;
    assert_eq!(accepted["head"]["replace"], format!(":{there}"));
    assert_eq!(accepted["from"], line.bob.name_of(&line.ann));
    line.ann
        .signals(&line.bob, "offer", here, json!({"sdp": "o"}))
        .await;
    assert_eq!(line.bob.is_signalled("offer").await["payload"]["sdp"], "o");
    line.bob
        .signals(&line.ann, "answer", there, json!({"sdp": "a"}))
        .await;
    assert_eq!(line.ann.is_signalled("answer").await["payload"]["sdp"], "a");
    line.ann
        .signals(&line.bob, "ice-candidate", here, json!({"c": 1}))
        .await;
    line.bob.is_signalled("ice-candidate").await;
    line._net.clock.advance(Duration::from_secs(60));
    line.bob.signals(&line.ann, "hang-up", there, nothing).await;
    line.ann.is_signalled("hang-up").await;
    for guest in [&mut line.ann, &mut line.bob] {
        let finished = guest.sees_call("finished").await;
        assert_eq!(finished["head"]["webrtc-duration"], 60_000);
    }
}

#[tokio::test]
async fn a_call_abroad_is_declined_missed_or_taken_back() {
    let mut line = LongLine::new().await;
    let nothing = json!(null);
    let (_, there) = line.rings().await;
    line.bob
        .signals(&line.ann, "hang-up", there, nothing.clone())
        .await;
    line.ann.is_signalled("hang-up").await;
    line.bob.sees_call("declined").await;
    line.bob_too.is_signalled("hang-up").await;
    // Nobody answers.
    line.rings().await;
    line.ann.sees_call("missed").await;
    line.bob.sees_call("missed").await;
    line.bob_too.is_signalled("hang-up").await;
    // The caller thinks better of it, while the other domain is away.
    let (here, _) = line.rings().await;
    line.beta.stop().await;
    line.ann.signals(&line.bob, "hang-up", here, nothing).await;
    line.ann.sees_call("missed").await;
    line.beta.start().await;
    line.beta.welcomes_back(&mut line.bob).await;
    line.bob.opens(&line.ann).await;
    line.bob.sees_call("missed").await;
    // Whoever has not agreed to talk cannot be called.
    let mut eve = line._alpha.guest("eve").await;
    eve.opens(&line.bob).await;
    let topic = eve.name_of(&line.bob);
    let call = json!({"topic": topic, "head": {"webrtc": "started"}, "content": " "});
    assert_eq!(eve.is_refused("pub", call).await.0, 403);
}
