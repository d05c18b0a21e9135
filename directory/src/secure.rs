//! Whether DNSSEC vouches for the TXT record of a domain: by our own validation, or by that of a resolver
//! on this machine. A resolver says so in one bit, AD, which is worth what the way to it is worth: so
//! that way never leaves the machine.

use std::{fs, io, net::SocketAddr, path::Path, time::Duration};

use freehold_proto::DomainName;
use hickory_resolver::{
    TokioResolver,
    proto::{
        dnssec::TrustAnchors,
        op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
        rr::{Name, RData, Record, RecordType},
        serialize::{
            binary::{BinDecodable as _, BinEncodable as _},
            txt::ParseError,
        },
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{DirectoryError, Dnssec, dns};

/// Time for question and answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who finds out whether DNSSEC vouches for a TXT record.
pub(crate) enum Vouching {
    /// Nobody.
    Nobody,
    /// A resolver on this machine, by the AD bit.
    Resolver(SocketAddr),
    /// We ourselves.
    Own(Box<TokioResolver>),
}

impl Vouching {
    pub(crate) fn new(
        dnssec: Dnssec,
        nameserver: Option<SocketAddr>,
    ) -> Result<Self, DirectoryError> {
        let keys = match dnssec {
            Dnssec::Off => return Ok(Self::Nobody),
            Dnssec::Resolver(address) => return Ok(Self::Resolver(address)),
            Dnssec::Validated(None) => TrustAnchors::default(),
            Dnssec::Validated(Some(path)) => keys_in(&path)?,
        };
        match dns::resolver(nameserver, Some(keys)) {
            Ok(own) => Ok(Self::Own(Box::new(own))),
            Err(error) => {
                tracing::warn!(%error, fault = "ours", "no TXT record can be validated");
                Ok(Self::Nobody)
            }
        }
    }

    /// The texts at `_freehold.<domain>` for which DNSSEC vouches; none if it does not, or cannot be asked.
    pub(crate) async fn anchors(&self, domain: &DomainName) -> Vec<String> {
        let asked = async {
            match self {
                Self::Nobody => Ok(Vec::new()),
                Self::Resolver(address) => {
                    let answer = ask(*address, domain).await.map_err(|it| it.to_string())?;
                    read(&answer)
                }
                Self::Own(resolver) => Ok(validated(resolver, domain).await),
            }
        };
        match timeout(TIMEOUT, asked)
            .await
            .unwrap_or_else(|_| Err("it takes too long".to_owned()))
        {
            Ok(texts) => texts,
            Err(error) => {
                tracing::warn!(peer = %domain, error, fault = "ours", "DNSSEC cannot be asked for");
                Vec::new()
            }
        }
    }
}

fn keys_in(path: &Path) -> Result<TrustAnchors, DirectoryError> {
    let failed = |why: String| DirectoryError::DnssecKeys {
        path: path.to_owned(),
        why,
    };
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let keys = text
        .parse()
        .map_err(|error: ParseError| failed(error.to_string()))?;
    Ok(keys)
}

/// A chain of signatures from the keys we begin with to this very name, or nothing. That there is none
/// says nothing: most domains are not signed, and some resolvers pass no signatures on.
async fn validated(resolver: &TokioResolver, domain: &DomainName) -> Vec<String> {
    let name = format!("_freehold.{domain}.");
    let lookup = match resolver.lookup(&*name, RecordType::TXT).await {
        Ok(lookup) => lookup,
        Err(error) => {
            tracing::debug!(peer = %domain, %error, "DNSSEC does not vouch for its TXT record");
            return Vec::new();
        }
    };
    vouched_for(&name, lookup.answers())
}

/// Only what stands at the very name that was asked for, and nothing if anything of the answer is not
/// vouched for: an unsigned alias could lead to words that somebody else has signed.
fn vouched_for(name: &str, answers: &[Record]) -> Vec<String> {
    let signature = |it: &&Record| it.record_type() == RecordType::RRSIG;
    let mut said = answers.iter().filter(|it| !signature(it));
    if !said.all(|it| it.proof.is_secure()) {
        return Vec::new();
    }
    let Ok(name) = Name::from_ascii(name) else {
        return Vec::new();
    };
    let said = answers.iter().filter(|it| it.name == name);
    said.filter_map(|it| text(&it.data)).collect()
}

fn text(data: &RData) -> Option<String> {
    match data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    }
}

/// Over TCP, which has room for signatures and which nobody answers from elsewhere.
async fn ask(resolver: SocketAddr, domain: &DomainName) -> io::Result<Message> {
    let name = Name::from_ascii(format!("_freehold.{domain}.")).map_err(io::Error::other)?;
    let id = u16::try_from(getrandom::u32().unwrap_or(0) >> 16).unwrap_or(0);
    let mut question = Message::new(id, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.metadata.authentic_data = true;
    question.add_query(Query::query(name, RecordType::TXT));
    question.set_edns(Edns::new());
    let bytes = question.to_bytes().map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(resolver).await?;
    stream
        .write_all(&[&length.to_be_bytes(), &*bytes].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    let answer = Message::from_bytes(&bytes).map_err(io::Error::other)?;
    if answer.metadata.id != id || answer.queries != question.queries {
        return Err(io::Error::other("it answers another question"));
    }
    Ok(answer)
}

fn read(answer: &Message) -> Result<Vec<String>, String> {
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Ok(Vec::new()),
        other => return Err(format!("it answers {other}")),
    }
    if !answer.metadata.authentic_data {
        return Ok(Vec::new());
    }
    Ok(answer
        .answers
        .iter()
        .filter_map(|it| text(&it.data))
        .collect())
}

#[cfg(test)]
mod tests {
    use freehold_keys::fingerprint_to_text;
    use hickory_resolver::proto::{
        dnssec::Proof,
        rr::rdata::{CNAME, TXT},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::anchor::from_txt;

    /// An answer with the TXT record of a domain and another text beside it.
    fn answer(authentic: bool) -> Message {
        let name = Name::from_ascii("_freehold.beta.test.").unwrap();
        let mut answer = Message::new(7, MessageType::Response, OpCode::Query);
        answer.metadata.authentic_data = authentic;
        answer.add_query(Query::query(name.clone(), RecordType::TXT));
        let anchor = format!("v=fh1; root={}", fingerprint_to_text(&[7; 32]));
        for text in [anchor, "v=spf1 -all".to_owned()] {
            let data = RData::TXT(TXT::new(vec![text]));
            answer.add_answer(Record::from_rdata(name.clone(), 60, data));
        }
        answer
    }

    #[test]
    fn only_an_answer_for_which_dnssec_vouches_counts() {
        assert_eq!(read(&answer(true)).unwrap().len(), 2);
        assert_eq!(read(&answer(false)).unwrap(), Vec::<String>::new());
        let mut failed = answer(true);
        failed.metadata.response_code = ResponseCode::ServFail;
        assert!(read(&failed).is_err());
    }

    #[test]
    fn words_at_another_name_or_behind_what_is_not_signed_count_for_nothing() {
        let (asked, other) = ("_freehold.beta.test.", "x.evil.example.");
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let proven = |at: &str, data: RData, proof: Proof| {
            let mut record = Record::from_rdata(name(at), 60, data);
            record.proof = proof;
            record
        };
        let words = || RData::TXT(TXT::new(vec!["v=fh1".to_owned()]));
        let alias = || RData::CNAME(CNAME(name(other)));
        let own = proven(asked, words(), Proof::Secure);
        assert_eq!(vouched_for(asked, std::slice::from_ref(&own)), ["v=fh1"]);
        for answers in [
            vec![proven(asked, words(), Proof::Insecure)],
            vec![
                proven(asked, alias(), Proof::Insecure),
                proven(other, words(), Proof::Secure),
            ],
            vec![
                proven(asked, alias(), Proof::Secure),
                proven(other, words(), Proof::Secure),
            ],
            vec![
                proven(asked, words(), Proof::Insecure),
                proven(other, words(), Proof::Secure),
            ],
            vec![proven(other, words(), Proof::Secure)],
        ] {
            assert_eq!(vouched_for(asked, &answers), Vec::<String>::new());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// The way to the resolver is this machine's own; still, no bytes bring us down, and none make a
        /// fingerprint of anything that is not there.
        #[test]
        fn changed_answers_are_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<Option<prop::sample::Index>>(),
        ) {
            let mut bytes = answer(true).to_bytes().unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(message) = Message::from_bytes(&bytes)
                && let Ok(texts) = read(&message)
                && let Ok(Some(found)) = from_txt(&texts)
            {
                let text = fingerprint_to_text(&found);
                prop_assert!(texts.iter().any(|it| it.contains(&text)));
            }
        }
    }
}
