//! Requests about which plugins are asked before they are done (decisions/0031).

use freehold_config::TopicKind;
use freehold_proto::pbx;
use serde_json::{Map, Value, value::RawValue};
use tracing::warn;

use super::{
    connection::Connection,
    frames::{Ctrl, ServerFrame},
    grpc,
    requests::{Extra, Request},
};
use crate::{accounts::Caller, plugins::Ruling};

impl Connection {
    /// The request to be done, and what goes beside it; nothing when a plugin has dealt with it. Of who
    /// is not in yet nobody is told.
    pub(super) async fn judged(&self, request: Request, extra: Extra) -> Option<(Request, Extra)> {
        let plugins = &self.server.plugins;
        if plugins.is_empty() {
            return Some((request, extra));
        }
        let (_, topic) = request.address();
        let kind = topic_kind(topic.unwrap_or_default());
        if !plugins.judge(request.kind(), kind) {
            return Some((request, extra));
        }
        let (Some(caller), Some(message)) = (&self.caller, grpc::message_for(&request, &extra))
        else {
            return Some((request, extra));
        };
        let question = pbx::ClientReq {
            msg: Some(message),
            sess: Some(self.described(caller)),
        };
        match plugins.rule(request.kind(), kind, question).await {
            Ruling::GoOn => Some((request, extra)),
            Ruling::Drop => None,
            Ruling::Replace(message) => match grpc::read_message(*message) {
                Ok(other) if !is_log_in(&other.0) => Some(other),
                _ => {
                    warn!("a plugin replaces a request by something that is none; it is forgotten");
                    None
                }
            },
            Ruling::Answer(ctrl) => {
                self.answer_as_told(&request, ctrl);
                None
            }
            Ruling::Refuse(code, text) => {
                let ctrl = pbx::ServerCtrl {
                    code: code.into(),
                    text,
                    ..Default::default()
                };
                self.answer_as_told(&request, ctrl);
                None
            }
        }
    }

    fn described(&self, caller: &Caller) -> pbx::Session {
        let origin = self.session.origin();
        pbx::Session {
            session_id: self.session.id().to_string(),
            user_id: self.server.ids.shown(&caller.user),
            auth_level: grpc::level(caller.level.as_str()).into(),
            remote_addr: origin.map_or_else(String::new, |it| it.to_string()),
            user_agent: self.session.agent(),
            // Not kept of any session.
            device_id: String::new(),
            language: String::new(),
        }
    }

    /// Answers with a plugin's words. Notes are never answered.
    fn answer_as_told(&self, request: &Request, ctrl: pbx::ServerCtrl) {
        if matches!(request, Request::Note(_)) {
            return;
        }
        let (id, topic) = request.address();
        let params: Map<String, Value> = ctrl.params.into_iter().filter_map(member).collect();
        self.session.send(&ServerFrame::Ctrl(Ctrl {
            id: id.map(str::to_owned),
            topic: topic.map(str::to_owned),
            params: (!params.is_empty()).then_some(Value::Object(params)),
            code: u16::try_from(ctrl.code).unwrap_or_default(),
            text: ctrl.text.into(),
            ts: self.now(),
        }));
    }
}

/// A plugin may change what somebody asks for, not who they are.
fn is_log_in(request: &Request) -> bool {
    matches!(
        request,
        Request::Hi(_) | Request::Acc(_) | Request::Login(_)
    )
}

fn member((key, value): (String, bytes::Bytes)) -> Option<(String, Value)> {
    let value: &RawValue = serde_json::from_slice(&value).ok()?;
    Some((key, serde_json::from_str(value.get()).ok()?))
}

/// What kind of topic a client means.
fn topic_kind(name: &str) -> TopicKind {
    match name {
        "" | "me" => TopicKind::Me,
        "fnd" => TopicKind::Find,
        "slf" => TopicKind::Saved,
        "sys" => TopicKind::Reports,
        name if name.starts_with("new") || name.starts_with("nch") => TopicKind::New,
        name if name.starts_with("grp") || name.starts_with("chn") => TopicKind::Group,
        _ => TopicKind::OneToOne,
    }
}
