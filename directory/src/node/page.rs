//! The page for people: a domain, its keys and who vouches for them, in words. Everything that came from
//! elsewhere is escaped; there is no script.

use std::fmt::Write as _;

use super::{
    answers::{Anchor, Domain, Located, is_vouched_for},
    qr,
};
use crate::Connect;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
<meta name=viewport content=\"width=device-width,initial-scale=1\"><title>Freehold directory</title><style>\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
form{display:flex;gap:.5rem;flex-wrap:wrap}input{flex:1 1 14rem;font:inherit;padding:.5rem .7rem}\
button{font:inherit;padding:.5rem 1rem}code{font-size:.9em;overflow-wrap:anywhere}\
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.3rem 1rem}dt{color:GrayText}dd{margin:0}\
.yes::before{content:\"\\2713\\00a0\";color:#2a8a3e;font-weight:bold}\
.no::before{content:\"\\2717\\00a0\";color:#c0392b;font-weight:bold}\
.app{display:flex;flex-wrap:wrap;gap:0 1rem;justify-content:space-between;align-items:start}.app svg{width:9rem;height:9rem}\
.none::before{content:\"\\2013\\00a0\"}li{margin:.3rem 0;list-style:none}ul{padding:0}\
footer{margin-top:3rem;color:GrayText;font-size:.9rem}</style>";

const FOOT: &str = "<footer>This node keeps no log of what is asked and is trusted by nobody: what counts is signed \
by the domain itself, and your own server checks it. For programs: <a href=\"/v1/openapi.json\">OpenAPI</a>.</footer>";

/// What there is to show of a domain.
pub(super) struct Seen {
    pub(super) domain: Domain,
    pub(super) located: Located,
    /// Whether the short link leads to its web app.
    pub(super) short_link: bool,
}

/// The page; with what was asked for and what is to be said of it.
pub(super) fn page(asked: &str, answer: Option<&Result<Seen, String>>) -> String {
    let mut page = HEAD.to_owned();
    let value = escaped(asked);
    page += "<h1>Freehold directory</h1><p>Who is behind a domain, as it is seen from here.</p>";
    page += &format!(
        "<form action=\"/\"><input name=domain value=\"{value}\" placeholder=\"chat.example.org\" \
         aria-label=\"Name of a domain, or somebody's address\" autocapitalize=none autocomplete=off spellcheck=false required>\
         <button>Look up</button></form>"
    );
    match answer {
        Some(Ok(it)) => {
            page += &format!("{}{}{}", seen(&it.domain), way_in(it), vouchers(&it.domain))
        }
        Some(Err(why)) => page += &format!("<p class=no role=alert>{}</p>", escaped(why)),
        None => {}
    }
    page + FOOT
}

fn seen(domain: &Domain) -> String {
    let mut text = format!("<h2>{}</h2>", escaped(&domain.domain));
    match &domain.identity {
        Some(it) => {
            let whole = verdict(&domain.anchors);
            let _ = write!(text, "{whole}<dl>");
            let mut row = |name: &str, value: &str| {
                let _ = write!(text, "<dt>{name}<dd>{}", escaped(value));
            };
            row(
                "Record",
                &format!("number {}, made {}", it.serial, moment(&it.issued)),
            );
            row(
                "Confirmed",
                &format!(
                    "{}, which counts until {}",
                    moment(&it.confirmed),
                    moment(&it.confirmed_until)
                ),
            );
            row("Expires", &moment(&it.expires));
            let _ = write!(text, "<dt>Root key<dd><code>{}</code>", escaped(&it.root));
            let _ = write!(
                text,
                "<dt>Next root key<dd><code>{}</code>",
                escaped(&it.next_root)
            );
            for key in &it.signing_keys {
                let state = if key.revoked { "revoked" } else { "until" };
                let (id, until) = (escaped(&key.id), moment(&key.until));
                let until = if key.revoked { "" } else { &*until };
                let _ = write!(
                    text,
                    "<dt>Signing key<dd><code>{id}</code>, {state} {until}"
                );
            }
            text += "</dl>";
        }
        None => {
            let why = domain.why.as_deref().unwrap_or_default();
            let _ = write!(
                text,
                "<p class=no>No identity record was found: {}. That proves nothing: it may be reachable from elsewhere.</p>",
                escaped(why)
            );
        }
    }
    text
}

/// How one connects there. Nobody is led anywhere on the word of a domain that nobody vouches for.
fn way_in(seen: &Seen) -> String {
    let located = &seen.located;
    let said = match &located.connect {
        Some(connect) if is_vouched_for(&located.anchors) => {
            web_app(connect, seen.short_link) + &entrance(connect)
        }
        Some(_) => "<p class=no>It says where its people connect, but it is not vouched for well enough to lead you \
                    there.</p>"
            .to_owned(),
        None => {
            let why = escaped(located.why.as_deref().unwrap_or_default());
            format!("<p class=none>Not known: {why}.</p>")
        }
    };
    format!("<h2>Connect</h2>{said}")
}

fn web_app(connect: &Connect, short_link: bool) -> String {
    let Some(url) = &connect.web_app else {
        return "<p class=none>It has no web app; use one of the apps.</p>".to_owned();
    };
    let (shown, code) = (escaped(url), qr::svg(url).unwrap_or_default());
    let domain = escaped(&connect.domain);
    let short = match short_link {
        true => format!("<p>Short link, to pass on: <a href=\"/c/{domain}\">/c/{domain}</a></p>"),
        false => String::new(),
    };
    format!(
        "<div class=app><div><p>In the browser: <a href=\"{shown}\" rel=noreferrer>{shown}</a></p>\
         <p>On a phone: point its camera at the square.</p>{short}</div>{code}</div>"
    )
}

fn entrance(connect: &Connect) -> String {
    let tls = if connect.tls { "with" } else { "without" };
    let grpc = match &connect.grpc {
        Some(address) => format!("<dt>gRPC<dd><code>{}</code>", escaped(address)),
        None => String::new(),
    };
    let accounts = match &*connect.registration {
        "open" => "Everybody may make one",
        "invite" => "Made with a code that somebody there gives you",
        "approval" => "Everybody may ask for one; an administrator says yes or no",
        _ => "Made by its operator only",
    };
    let guests = if connect.anonymous {
        ". Guests come in without one"
    } else {
        ""
    };
    let calls = if connect.calls { "yes" } else { "no" };
    format!(
        "<dl><dt>Server name for apps<dd><code>{}</code>, {tls} TLS{grpc}<dt>Accounts<dd>{accounts}{guests}.\
         <dt>Calls<dd>{calls}<dt>Largest file<dd>{}<dt>It says so until<dd>{}</dl>",
        escaped(&connect.server),
        size(connect.file_bytes_max),
        moment(&connect.expires)
    )
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes / (1024 * 1024) {
        0 => format!("{} KiB", bytes / 1024),
        mib => format!("{mib} MiB"),
    }
}

fn vouchers(domain: &Domain) -> String {
    let mut text = "<h2>Who vouches for its root key</h2><ul>".to_owned();
    domain.anchors.iter().for_each(|it| text += &anchor(it));
    let _ = write!(text, "</ul><p>Looked at {}.</p>", moment(&domain.seen_at));
    text
}

/// All of it in one sentence.
fn verdict(anchors: &[Anchor]) -> &'static str {
    let strong = |it: &Anchor| it.source != "dns" && it.agrees == Some(true);
    if anchors.iter().any(|it| it.agrees == Some(false)) {
        "<p class=no><strong>They do not agree about its root key. Ask its operator on a way that you trust.</strong></p>"
    } else if anchors.iter().any(strong) {
        "<p class=yes>Its record holds, and its root key is vouched for.</p>"
    } else if anchors.iter().any(|it| it.agrees == Some(true)) {
        "<p class=none>Its record holds. Only an unsigned DNS record names its root key: whoever can change DNS answers \
         can change that.</p>"
    } else {
        "<p class=none>Its record holds, but nobody vouches for its root key.</p>"
    }
}

fn anchor(anchor: &Anchor) -> String {
    let who = match anchor.source {
        "dnssec" => "A DNS record that DNSSEC vouches for",
        "dns" => "An unsigned DNS record",
        _ => "Its web server",
    };
    let (class, says) = match (&anchor.root, anchor.agrees) {
        (Some(_), Some(true)) => ("yes", "names the same key".to_owned()),
        (Some(root), Some(false)) => (
            "no",
            format!("names another key: <code>{}</code>", escaped(root)),
        ),
        (Some(root), None) => ("none", format!("names <code>{}</code>", escaped(root))),
        (None, _) => {
            let why = anchor.why.as_deref().unwrap_or_default();
            ("none", format!("names none: {}", escaped(why)))
        }
    };
    format!("<li class={class}>{who} {says}</li>")
}

/// A time as people read it: `2026-11-21T16:42:06.197Z` without what is smaller than a minute.
fn moment(time: &str) -> String {
    let minute = time.get(..16).unwrap_or(time).replace('T', " ");
    format!("{} UTC", escaped(&minute))
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            other => safe.push(other),
        }
    }
    safe
}
