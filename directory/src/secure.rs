//! Asks a validating resolver on this machine for the TXT record of a domain, and whether DNSSEC vouches
//! for it. The answer says so in one bit, AD, which is worth what the way to the resolver is worth: so
//! that way never leaves the machine.

use std::{io, net::SocketAddr, time::Duration};

use freehold_proto::DomainName;
use hickory_resolver::proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
    serialize::binary::{BinDecodable as _, BinEncodable as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::ResolveError;

/// Time for question and answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The texts at `_freehold.<domain>` for which DNSSEC vouches; none if it does not.
pub(crate) async fn anchors(
    resolver: SocketAddr,
    domain: &DomainName,
) -> Result<Vec<String>, ResolveError> {
    let failed = |why: String| ResolveError::Dns(format!("the validating resolver: {why}"));
    match timeout(TIMEOUT, ask(resolver, domain)).await {
        Err(_) => Err(failed("it takes too long".to_owned())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Ok(Ok(answer)) => read(&answer).map_err(failed),
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
    let texts = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        });
    Ok(texts.collect())
}
