//! What a file means, and what is said about a wrong one.

use freehold_directory::Dnssec;

use super::*;
use crate::example::{Kind, Section, node_sections, sections};

fn read(text: &str) -> Config {
    from_toml(text, Path::new("/etc/freehold")).unwrap()
}

#[track_caller]
fn check(text: &str, mistakes: &[&str]) {
    let error = from_toml(text, Path::new("/etc/freehold")).unwrap_err();
    assert_eq!(error.mistakes(), mistakes);
}

#[test]
fn a_domain_name_is_all_that_is_needed() {
    let config = read("domain = \"Example.ORG\"");
    assert_eq!(config.domain.as_str(), "example.org");
    assert_eq!(config.data_dir, Path::new("/etc/freehold"));
    assert_eq!(config.keys_dir, Path::new("/etc/freehold/keys"));
    assert_eq!(config.clients.registration, Registration::Closed);
    assert_eq!(config.federation.listen.port(), 6269);
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let config = read("domain = \"a.test\"\ndata_dir = \"state\"\n[clients]\nweb_root = \"web\"\n");
    assert_eq!(config.data_dir, Path::new("/etc/freehold/state"));
    assert_eq!(config.keys_dir, Path::new("/etc/freehold/state/keys"));
    assert_eq!(
        config.clients.web_root.as_deref(),
        Some(Path::new("/etc/freehold/web"))
    );
    let config = read("domain = \"a.test\"\ndata_dir = \"/srv/a\"\nkeys_dir = \"/run/keys\"");
    assert_eq!(config.data_dir, Path::new("/srv/a"));
    assert_eq!(config.keys_dir, Path::new("/run/keys"));
}

#[test]
fn a_certificate_and_its_key_come_together() {
    let clients = |lines: &str| format!("domain = \"a.test\"\n[clients]\n{lines}\n");
    assert_eq!(read(&clients("")).clients.tls, None);
    let both = clients("tls_certificate = \"tls/chain.pem\"\ntls_key = \"/run/key.pem\"");
    let files = TlsFiles {
        certificate: "/etc/freehold/tls/chain.pem".into(),
        key: "/run/key.pem".into(),
    };
    assert_eq!(read(&both).clients.tls, Some(files));
    check(
        &clients("tls_certificate = \"chain.pem\""),
        &["clients.tls_certificate counts only with tls_key."],
    );
    check(
        &clients("tls_key = \"key.pem\""),
        &["clients.tls_key counts only with tls_certificate."],
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    check(
        r#"
        colour = "blue"
        [clients]
        listen = "localhost"
        grpc_listen = "16060"
        findable = "yes"
        message_bytes_max = 1
        registration = "perhaps"
        api_keys = []
        [federation]
        listn = "0.0.0.0:6269"
        trust = 5
        allowed_ranges = ["10.0.0.0/8", "ten"]
        allow = ["a.test"]
        retry_first_seconds = 9
        retry_longest_seconds = 3
        [[federation.peer]]
        domain = "b.test"
        root = "short"
        address = "b.test"
        [store]
        free_space_mib = -1
        [files]
        file_mib_max = 0
        total_mib_max = "all"
        s3_endpoint = "s3.test"
        s3_keys = "A"
        "#,
        &[
            "colour is not a key that Freehold knows.",
            "domain is missing.",
            "clients.listen = \"localhost\": must be an IP address and a port, such as 127.0.0.1:6060.",
            "clients.grpc_listen = \"16060\": must be an IP address and a port, such as 127.0.0.1:6060.",
            "clients.registration must be \"closed\" or \"open\" or \"invite\" or \"approval\", not \"perhaps\".",
            "clients.findable must be true or false, not a value of type string.",
            "clients.api_keys must hold at least one key, none empty.",
            "clients.message_bytes_max must be from 1024 to 262144, not 1.",
            "federation.listn is not a key that Freehold knows.",
            "federation.trust must be a text in quotes, not a value of type integer.",
            "federation.allowed_ranges = \"ten\": must be address ranges such as 10.0.0.0/8.",
            "federation.peer (number 1).root = \"short\": must be 43 characters of base64url.",
            "federation.peer (number 1).address = \"b.test\": must be a host name or IP address and a port, such as 192.168.7.2:6269.",
            "federation.allow counts only with policy = \"listed\", and the policy is \"open\".",
            "federation.retry_first_seconds must not be longer than retry_longest_seconds, 3.",
            "store.free_space_mib must be a whole number, 0 or greater, not a value of type integer.",
            "files.s3_keys is not a key that Freehold knows.",
            "files.file_mib_max must be from 1 to 65536, not 0.",
            "files.total_mib_max must be a whole number, 0 or greater, not a value of type string.",
            "files.s3_endpoint = \"s3.test\": must be a URL, such as https://s3.example.org.",
        ],
    );
}

#[test]
fn files_are_in_a_folder_or_in_a_bucket() {
    let config = read("domain = \"a.test\"\ndata_dir = \"state\"");
    match config.files.place {
        FilePlace::Folder(folder) => assert_eq!(folder, Path::new("/etc/freehold/state/files")),
        FilePlace::S3(s3) => panic!("nobody asked for {s3:?}"),
    }
    let bucket = "domain = \"a.test\"\n[files]\ns3_bucket = \"b\"\n";
    check(bucket, &["files.s3_bucket needs files.s3_access_key."]);
    let key = "s3_access_key = \"A\"\ns3_secret_file = \"s3.secret\"\n";
    match read(&format!("{bucket}{key}")).files.place {
        FilePlace::S3(s3) => {
            assert_eq!((&*s3.bucket, &*s3.region), ("b", "us-east-1"));
            let secret = Some(PathBuf::from("/etc/freehold/s3.secret"));
            assert_eq!((s3.endpoint, s3.secret_file), (None, secret));
        }
        FilePlace::Folder(folder) => panic!("nobody asked for {folder:?}"),
    }
    let key = format!("domain = \"a.test\"\n[files]\n{key}");
    check(&key, &["files.s3_access_key needs files.s3_bucket."]);
}

#[test]
fn dnssec_is_validated_here_or_by_a_resolver_of_this_machine_or_not_at_all() {
    let with = |lines: &str| format!("domain = \"alpha.example\"\n[federation]\n{lines}\n");
    let dnssec = |lines: &str| read(&with(lines)).directory.dnssec;
    assert_eq!(dnssec(""), Dnssec::Validated(None));
    let keys = Some(Path::new("/etc/freehold").join("root.key"));
    assert_eq!(
        dnssec(r#"dnssec_keys = "root.key""#),
        Dnssec::Validated(keys)
    );
    let resolver = "127.0.0.1:53".parse().unwrap();
    let by_resolver = dnssec(r#"dnssec_resolver = "127.0.0.1:53""#);
    assert_eq!(by_resolver, Dnssec::Resolver(resolver));
    assert_eq!(dnssec("dnssec = false"), Dnssec::Off);
    check(
        &with(r#"dnssec_resolver = "192.0.2.1:53""#),
        &[
            "federation.dnssec_resolver = \"192.0.2.1:53\": must be an address of this machine, such as 127.0.0.1:53: on the way from another one anybody can claim that DNSSEC vouches for an answer.",
        ],
    );
}

#[test]
fn no_two_nodes_of_the_directory_are_the_same_and_announcing_needs_one() {
    let with = |nodes: &str| format!("domain = \"a.test\"\n[directory]\nnodes = {nodes}\n");
    let nodes = |text: &str| read(&with(text)).directory.nodes;
    assert!(nodes("[]").is_empty());
    let two = nodes(r#"["https://d.example.org", "http://127.0.0.1:6080/"]"#);
    let shown: Vec<_> = two.iter().map(|it| (it.tls, &*it.host, it.port)).collect();
    assert_eq!(
        shown,
        [(true, "d.example.org", 443), (false, "127.0.0.1", 6080)]
    );
    for (text, mistake) in [
        (
            "[]\nannounce = true",
            "directory.announce needs nodes to announce to: see directory.nodes.",
        ),
        (
            r#"["https://d.example.org", "https://d.example.org:443"]"#,
            "directory.nodes names one node twice: two have to be two.",
        ),
        (
            r#"["http://d.example.org", "https://e.example.org"]"#,
            "directory.nodes = \"http://d.example.org\": must be addresses such as https://directory.example.org.",
        ),
    ] {
        check(&with(text), &[mistake]);
    }
}

#[test]
fn mail_goes_to_a_server_or_a_folder_or_is_not_sent() {
    assert!(read("domain = \"a.test\"").mail.is_none());
    let config = read("domain = \"a.test\"\n[mail]\nfolder = \"mail\"");
    let mail = config.mail.unwrap();
    assert_eq!(mail.from, "noreply@a.test");
    assert!(matches!(mail.delivery, Delivery::Folder(it) if it == Path::new("/etc/freehold/mail")));
    let config = read(
        "domain = \"a.test\"\n[mail]\nsmtp = \"mx.a.test:465\"\ntls = \"tls\"\nuser = \"u\"\npassword_env = \"P\"",
    );
    let Delivery::Smtp(smtp) = config.mail.unwrap().delivery else {
        panic!("not a mail server");
    };
    assert_eq!((smtp.host.as_str(), smtp.port), ("mx.a.test", 465));
    let password = PasswordSource::Variable("P".to_owned());
    assert_eq!(smtp.login, Some(("u".to_owned(), password)));
}

#[test]
fn a_service_for_log_ins_is_asked_over_https_or_on_this_machine() {
    let read_url = |url: &str| {
        from_toml(
            &format!("domain = \"a.test\"\n[authentication]\nurl = \"{url}\""),
            Path::new("/"),
        )
    };
    let service = read_url("https://accounts.a.test/freehold/")
        .unwrap()
        .authentication
        .unwrap();
    assert_eq!((service.tls, service.port), (true, 443));
    assert_eq!(
        (service.host.as_str(), service.path.as_str()),
        ("accounts.a.test", "/freehold")
    );
    let service = read_url("http://127.0.0.1:8080")
        .unwrap()
        .authentication
        .unwrap();
    assert_eq!(
        (service.tls, service.port, service.path.as_str()),
        (false, 8080, "")
    );
    for url in [
        "http://accounts.a.test/",
        "ftp://a.test",
        "https://",
        "https://a b/",
        "https://a.test:x/",
    ] {
        assert!(read_url(url).is_err(), "{url} passed");
    }
}

#[test]
fn what_must_be_confirmed_needs_mail() {
    check(
        "domain = \"a.test\"\n[clients]\nrequired_credentials = [\"email\"]",
        &["clients.required_credentials needs a way to send mail: smtp in the section [mail]."],
    );
    check(
        "domain = \"a.test\"\n[clients]\nrequired_credentials = [\"fax\"]\nmasked_tags = [\"E\"]\n[mail]\nuser = \"u\"\napp_url = \"chat\"",
        &[
            "clients.required_credentials = \"fax\": must be \"email\", the only kind that can be confirmed.",
            "clients.masked_tags = \"E\": must be 2 to 16 small letters, digits or _, such as email.",
            "mail.app_url = \"chat\": must be the address of a page, such as https://chat.example.org/.",
            "mail.user needs a password, in password_file or password_env.",
        ],
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let error = from_toml("domain = \"a.test\"\n[clients\n", Path::new("/")).unwrap_err();
    assert!(
        error.to_string().starts_with("line 2 is not TOML: "),
        "{error}"
    );
    let error = from_toml("domain = \"a.test\"\nclients = 5", Path::new("/")).unwrap_err();
    assert_eq!(
        error.mistakes(),
        ["clients must be a section, not a value of type integer."]
    );
}

#[test]
fn the_example_is_a_configuration_and_names_the_domain() {
    let config = read(&example("example.org"));
    assert_eq!(config.domain.as_str(), "example.org");
    assert_eq!(
        format!("{config:?}"),
        format!("{:?}", read("domain = \"example.org\""))
    );
}

#[test]
fn the_defaults_told_are_the_defaults_used() {
    let told = written_out(&sections(), |kind| kind != Kind::Example);
    let used = read("domain = \"example.org\"");
    assert_eq!(format!("{:?}", read(&told)), format!("{used:?}"));
}

#[test]
fn every_key_told_can_be_set() {
    read(&written_out(&sections(), |_| true));
}

#[test]
fn a_node_of_the_directory_has_a_file_of_its_own() {
    let read = |text: &str| node_from_toml(text, Path::new("/etc/freehold"));
    let usual = read("").unwrap();
    assert_eq!(usual.listen.port(), 6080);
    assert_eq!(usual.discovery.dnssec, Dnssec::Validated(None));
    let told = written_out(&node_sections(), |kind| kind != Kind::Example);
    assert_eq!(format!("{:?}", read(&told).unwrap()), format!("{usual:?}"));
    read(&written_out(&node_sections(), |_| true)).unwrap();
    assert_eq!(
        format!("{:?}", read(&node_example()).unwrap()),
        format!("{usual:?}")
    );
    let wrong = "listen = 5\ndomain = \"a.test\"\n[discovery]\nnameserver = \"x\"\ntrust = \"dns\"";
    assert_eq!(
        read(wrong).unwrap_err().mistakes(),
        [
            "domain is not a key that Freehold knows.",
            "listen must be a text in quotes, not a value of type integer.",
            "discovery.trust is not a key that Freehold knows.",
            "discovery.nameserver = \"x\": must be an IP address and a port, such as 127.0.0.1:6060.",
        ]
    );
}

/// The example with nothing commented out, and with keys of these kinds only.
fn written_out(sections: &[Section], wanted: impl Fn(Kind) -> bool) -> String {
    let mut text = String::new();
    for section in sections {
        let pattern = section.heading.is_some_and(|it| it.starts_with("[["));
        if pattern && !wanted(Kind::Example) {
            continue;
        }
        text += &format!("{}\n", section.heading.unwrap_or_default());
        let keys = section.keys.iter().filter(|it| wanted(it.kind));
        keys.for_each(|it| text += &format!("{}\n", it.line()));
    }
    text
}

#[test]
fn every_key_of_the_file_is_told() {
    let fields = include_str!("file.rs").lines().filter(|line| {
        let line = line.trim();
        line.starts_with("pub(crate) ") && line.contains("Given<") && !line.contains("fn ")
    });
    let sections = sections();
    let told = sections.iter().map(|it| it.keys.len()).sum::<usize>();
    // Fields that are sections themselves are told by their own structs; the file itself is no field.
    assert_eq!(told, fields.count() - (sections.len() - 1));
}

#[test]
fn a_plugin_is_told_and_asked_only_what_is_listed() {
    let config =
        read("domain = \"a.test\"\n[[plugins]]\nname = \"p\"\naddress = \"http://127.0.0.1:1\"");
    let plugin = &config.plugins[0];
    assert!(plugin.accounts.is_empty() && plugin.topics.is_empty() && plugin.messages.is_empty());
    assert!(plugin.subscriptions.is_empty() && plugin.requests.is_empty() && !plugin.searches);
    assert!(plugin.failure.is_none());
    check(
        r#"
        domain = "a.test"
        [[plugins]]
        name = "p"
        address = "http://plugin.test:40051"
        accounts = ["created"]
        messages = ["me"]
        requests = ["login"]
        request_topics = ["all"]
        timeout_ms = 5000
        failure_code = 200
        [[plugins]]
        name = "p"
        address = "https://plugin.test:40051"
        [[plugins]]
        name = "p"
        address = "https://plugin.test/path"
        colour = 1
        [[plugins]]
        name = "p"
        address = "https://plugin.test"
        "#,
        &[
            "plugins (number 1).address = \"http://plugin.test:40051\": must begin with https, or name an address of this machine.",
            "plugins (number 1).accounts = \"created\": must be \"create\", \"update\" or \"delete\".",
            "plugins (number 1).messages = \"me\": must be \"p2p\", \"grp\", \"sys\" or \"slf\".",
            "plugins (number 1).requests = \"login\": must be \"sub\", \"leave\", \"pub\", \"get\", \"set\", \"del\" or \"note\".",
            "plugins (number 1).request_topics = \"all\": must be \"me\", \"fnd\", \"new\", \"p2p\", \"grp\", \"sys\" or \"slf\".",
            "plugins (number 1).timeout_ms must be from 10 to 4000, not 5000.",
            "plugins (number 1).failure_code must be 0, or from 400 to 599.",
            "plugins (number 3).colour is not a key that Freehold knows.",
            "plugins (number 3).address = \"https://plugin.test/path\": must be an address without a path, such as http://127.0.0.1:40051.",
            "plugins (number 4) is called \"p\", as one before it is.",
        ],
    );
}

#[test]
fn a_limit_is_two_numbers_or_none() {
    let config = read(
        "domain = \"a.test\"\n[limits]\nuser_messages = [3, 7]\ntopic_messages = [0, 0]\npeer_items = [0, 0]",
    );
    assert_eq!(config.limits.user_messages, Rate::new(3, 7));
    assert_eq!(config.limits.topic_messages, None);
    assert_eq!(config.federation.rates.items, None);
    assert_eq!(config.federation.rates.hellos, Rate::new(50, 500));
    let wrong = |key: &str| {
        format!(
            "limits.{key} must be two numbers, how many in a second and how many at once, such as [100, 500], or [0, 0] for no limit."
        )
    };
    check(
        r#"
        domain = "a.test"
        [limits]
        user_messages = [3]
        user_requests = [0, 7]
        topic_messages = [7, 0]
        peer_items = [1, 10000001]
        peer_signals = 5
        peers = [1, 1]
        "#,
        &[
            "limits.peers is not a key that Freehold knows.",
            &wrong("user_messages"),
            &wrong("user_requests"),
            &wrong("topic_messages"),
            &wrong("peer_items"),
            "limits.peer_signals must be a list of whole numbers, 0 or greater, not a value of type integer.",
        ],
    );
}

#[test]
fn where_the_world_reaches_clients_is_a_plain_url() {
    let clients = |lines: &str| format!("domain = \"a.test\"\n[clients]\n{lines}\n");
    assert!(read(&clients("")).clients.public.is_none());
    for text in ["https://chat.a.test", "https://chat.a.test/"] {
        let config = read(&clients(&format!("public_url = {text:?}")));
        let public = config.clients.public.unwrap();
        assert_eq!(public.url.as_str(), "https://chat.a.test/");
        assert_eq!(public.grpc, None);
    }
    let here = read(&clients("public_url = \"http://127.0.0.1:6060\""));
    assert_eq!(here.clients.public.unwrap().url.port(), 6060);
    let listen = "grpc_listen = \"127.0.0.1:1\"\ngrpc_public = \"chat.a.test:443\"";
    let both = read(&clients(&format!(
        "public_url = \"https://chat.a.test\"\n{listen}"
    )));
    let grpc = both.clients.public.unwrap().grpc;
    assert_eq!(grpc.as_deref(), Some("chat.a.test:443"));
    check(
        &clients("public_url = \"http://chat.a.test\"\ngrpc_public = \"chat.a.test\""),
        &[
            "clients.public_url = \"http://chat.a.test\": must be https: plain http is for addresses of this machine.",
            "clients.grpc_public = \"chat.a.test\": must be a host and a port, such as chat.example.org:443.",
        ],
    );
    for wrong in [
        "chat.a.test",
        "https://chat.a.test/app",
        "wss://chat.a.test",
        "https://x@a.test",
    ] {
        check(
            &clients(&format!("public_url = {wrong:?}")),
            &[&format!(
                "clients.public_url = {wrong:?}: must be a URL without a path, such as https://chat.example.org."
            )],
        );
    }
    check(
        &clients(listen),
        &["clients.grpc_public counts only with public_url."],
    );
    check(
        &clients("public_url = \"https://chat.a.test\"\ngrpc_public = \"chat.a.test:443\""),
        &["clients.grpc_public counts only with grpc_listen."],
    );
}

#[test]
fn a_domain_has_pushes_relayed_by_one_node_and_tells_nobody_more_than_it_takes() {
    let push = |lines: &str| format!("domain = \"a.test\"\n[push]\n{lines}\n");
    assert!(read(&push("")).push.is_none());
    let set = read(&push("node = \"https://node.example.org\""))
        .push
        .unwrap();
    assert_eq!(set.content, PushContent::None);
    assert_eq!(set.node.authority(), "node.example.org");
    let here = read(&push(
        "node = \"http://127.0.0.1:6080/\"\ncontent = \"preview\"",
    ));
    let here = here.push.unwrap();
    assert_eq!(here.content, PushContent::Preview);
    assert_eq!(here.node.authority(), "127.0.0.1:6080");
    check(
        &push("node = \"http://node.example.org\"\ncontent = \"all\"\nkey = 1"),
        &[
            "push.key is not a key that Freehold knows.",
            "push.node = \"http://node.example.org\": must be an address such as https://directory.example.org.",
            "push.content must be \"none\" or \"preview\", not \"all\".",
        ],
    );
}

#[test]
fn a_node_relays_what_it_has_keys_for_and_says_under_which_name() {
    let read = |lines: &str| node_from_toml(&format!("[push]\n{lines}\n"), Path::new("/etc"));
    assert!(read("").unwrap().push.is_none());
    let web = "public_url = \"https://node.example.org\"\nvapid_key = \"v.pem\"\nvapid_subject = \"mailto:a@b.test\"";
    let push = read(web).unwrap().push.unwrap();
    assert_eq!(push.name, "node.example.org");
    assert_eq!(push.vapid.unwrap().key, Path::new("/etc/v.pem"));
    assert!(push.fcm.is_none() && push.apns.is_none());
    let apple =
        "apns_key = \"k.p8\"\napns_key_id = \"K\"\napns_team_id = \"T\"\napns_topic = \"a.b\"";
    let all = format!("{web}\nfcm_service_account = \"s.json\"\n{apple}");
    let push = read(&all).unwrap().push.unwrap();
    let urls = (push.fcm.unwrap().url, push.apns.unwrap().url);
    assert_eq!(urls.0.as_str(), "https://fcm.googleapis.com/");
    assert_eq!(urls.1.as_str(), "https://api.push.apple.com/");
    for (lines, word) in [
        (
            "public_url = \"https://node.example.org\"",
            "no key with which",
        ),
        (
            "vapid_key = \"v\"\nvapid_subject = \"mailto:a\"",
            "must be set where there are keys",
        ),
        ("vapid_key = \"v\"", "push.vapid_subject"),
        ("vapid_subject = \"mailto:a\"", "not push.vapid_key"),
        ("vapid_subject = \"me\"", "must begin with mailto:"),
        ("apns_key = \"k\"", "counts only with"),
        ("fcm_url = \"http://google.test\"", "push.fcm_url"),
    ] {
        let mistakes = read(lines).unwrap_err().to_string();
        assert!(mistakes.contains(word), "{lines}: {mistakes}");
    }
}
