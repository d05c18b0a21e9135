//! Times of inner parts by themselves: `cargo bench -p freehold-inner`.

use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use freehold::{
    edge::{
        encoding::Encoding,
        frames::{Data, ServerFrame},
        requests::Request,
    },
    measured::{Chat, Crowd, read_protobuf},
};
use freehold_inner::{Post, WORDS, publish_json, publish_protobuf};
use freehold_proto::Timestamp;

fn main() {
    divan::main();
}

fn data() -> ServerFrame {
    ServerFrame::Data(Data {
        topic: "usrAAAAAAAAAAA".to_owned(),
        from: "usrAAAAAAAAAAA".to_owned(),
        ts: Timestamp::EPOCH,
        seq: 4711,
        head: None,
        content: serde_json::value::to_raw_value(WORDS).ok(),
    })
}

/// A client's `{pub}`, read.
#[divan::bench(args = [Encoding::Json, Encoding::Protobuf])]
fn read_pub(bencher: Bencher<'_, '_>, encoding: Encoding) {
    let json = publish_json("usrBBBBBBBBBBB", 1);
    let protobuf = publish_protobuf("usrBBBBBBBBBBB", 1);
    match encoding {
        Encoding::Json => bencher
            .counter(BytesCount::of_str(&json))
            .bench(|| Request::parse(black_box(json.as_bytes())).is_ok()),
        Encoding::Protobuf => bencher
            .counter(BytesCount::new(protobuf.len()))
            .bench(|| read_protobuf(black_box(protobuf.clone())).is_ok()),
    }
}

/// A `{data}` for a client, written.
#[divan::bench(args = [Encoding::Json, Encoding::Protobuf])]
fn write_data(bencher: Bencher<'_, '_>, encoding: Encoding) {
    let frame = data();
    bencher.bench(|| black_box(&frame).encode(encoding));
}

/// An envelope to bytes.
#[divan::bench]
fn encode_envelope(bencher: Bencher<'_, '_>) {
    let envelope = Post::default().seal(1);
    bencher
        .with_inputs(|| envelope.clone())
        .bench_values(Post::encode);
}

/// An envelope from bytes.
#[divan::bench]
fn decode_envelope(bencher: Bencher<'_, '_>) {
    let bytes = Post::encode(Post::default().seal(1));
    bencher
        .with_inputs(|| bytes.clone())
        .bench_values(Post::decode);
}

/// An envelope composed and signed.
#[divan::bench]
fn seal_envelope(bencher: Bencher<'_, '_>) {
    let post = Post::default();
    bencher.bench(|| post.seal(black_box(1)));
}

/// An envelope verified and read.
#[divan::bench]
fn open_envelope(bencher: Bencher<'_, '_>) {
    let post = Post::default();
    let envelope = post.seal(1);
    bencher
        .with_inputs(|| envelope.clone())
        .bench_values(|it| post.opens(it));
}

/// A message decided in a topic, as rows for the store.
#[divan::bench]
fn decide_publish(bencher: Bencher<'_, '_>) {
    let mut chat = Chat::default();
    let frame = publish_json(&chat.name(), 1);
    let reader = Chat::default();
    bencher
        .with_inputs(|| reader.read(frame.as_bytes()))
        .bench_local_values(|wanted| wanted.and_then(|it| chat.decide(it)));
}

/// The same from the client's bytes to the frames of both people.
#[divan::bench]
fn whole_publish(bencher: Bencher<'_, '_>) {
    let mut chat = Chat::default();
    let frame = publish_json(&chat.name(), 1);
    bencher.bench_local(|| {
        let wanted = chat.read(black_box(frame.as_bytes()));
        let decided = wanted.and_then(|it| chat.decide(it));
        decided.and_then(|it| chat.tell(it))
    });
}

/// One message to all sessions of a group, and out of their queues.
#[divan::bench(args = [1, 10, 100, 1000])]
fn fan_out(bencher: Bencher<'_, '_>, members: u32) {
    let mut crowd = Crowd::of(members, |_| false);
    let mut seq = 0;
    bencher.counter(ItemsCount::new(members)).bench_local(|| {
        seq += 1;
        crowd.show(seq, WORDS);
        crowd.take()
    });
}
