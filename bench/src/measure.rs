//! How long messages take, and how many get through.

use std::time::Duration;

use serde::Serialize;
use tokio::{sync::Semaphore, time::Instant};

use crate::{Result, client::Session, people::Chat};

/// Not measured: the first messages find caches and links cold.
const WARM_UP: usize = 20;

/// Milliseconds from sending `{pub}`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latencies {
    /// To `{ctrl 202}` at the writer.
    pub(crate) acknowledged: Spread,
    /// To `{data}` at the reader.
    pub(crate) delivered: Spread,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            let time = times.get(rank - 1).copied().unwrap_or_default();
            time.as_secs_f64() * 1000.0
        };
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// Sends `messages` one at a time.
pub(crate) async fn latencies(chat: &mut Chat, messages: usize) -> Result<Latencies> {
    let (mut acknowledged, mut delivered) = (Vec::new(), Vec::new());
    for number in 0..messages + WARM_UP {
        let (to_writer, to_reader) = one(chat, &format!("one {number}")).await?;
        if number >= WARM_UP {
            acknowledged.push(to_writer);
            delivered.push(to_reader);
        }
        chat.writer.clear();
        chat.reader.clear();
    }
    Ok(Latencies {
        acknowledged: Spread::of(acknowledged),
        delivered: Spread::of(delivered),
    })
}

async fn one(chat: &mut Chat, text: &str) -> Result<(Duration, Duration)> {
    let begun = Instant::now();
    let id = chat.writer.publish(&chat.topic, text).await?;
    let answer = async {
        let answer = chat.writer.answer(&id).await?;
        match answer["code"].as_u64() {
            Some(202) => Ok(begun.elapsed()),
            _ => Err(format!("pub was answered by {answer}")),
        }
    };
    let message = async {
        chat.reader.message(text).await?;
        Ok(begun.elapsed())
    };
    tokio::try_join!(answer, message)
}

/// Sends `messages` with `window` of them on their way at once; returns messages per second from the
/// first `{pub}` to the last `{data}`.
pub(crate) async fn throughput(chat: &mut Chat, messages: usize, window: usize) -> Result<f64> {
    let begun = Instant::now();
    let places = Semaphore::new(window.max(1));
    let send = send_all(&mut chat.writer, &chat.topic, messages, &places);
    let receive = receive_all(&mut chat.reader, messages, &places);
    tokio::try_join!(send, receive)?;
    let count = u32::try_from(messages).unwrap_or(u32::MAX);
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

async fn send_all(
    writer: &mut Session,
    topic: &str,
    messages: usize,
    places: &Semaphore,
) -> Result<()> {
    let (mut sent, mut answered) = (0, 0);
    while answered < messages {
        tokio::select! {
            Ok(place) = places.acquire(), if sent < messages => {
                // The reader gives it back.
                place.forget();
                writer.publish(topic, &format!("many {sent}")).await?;
                sent += 1;
            }
            frame = writer.receive() => {
                let frame = frame?;
                match frame["ctrl"]["code"].as_u64() {
                    Some(202) => answered += 1,
                    Some(400..) => return Err(format!("pub was answered by {frame}")),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

async fn receive_all(reader: &mut Session, messages: usize, places: &Semaphore) -> Result<()> {
    let mut received = 0;
    while received < messages {
        let frame = reader.receive().await?;
        let text = frame["data"]["content"].as_str();
        if text.is_some_and(|it| it.starts_with("many ")) {
            received += 1;
            places.add_permits(1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        let expected = Spread {
            p50: 100.0,
            p99: 198.0,
            max: 200.0,
        };
        assert_eq!(Spread::of(times), expected);
    }
}
