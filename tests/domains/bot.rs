//! A client that speaks gRPC, well or badly.

use std::time::Duration;

use freehold_interop::Person;
use freehold_proto::pbx::{
    ClientAcc, ClientHi, ClientLogin, ClientMsg, ClientSub, ServerCtrl, ServerMsg,
    client_msg::Message as Said, server_msg::Message as Heard,
};
use futures_util::stream;
use prost::Message;
use tokio::{sync::mpsc, time::timeout};
use tonic::{
    Code, Status, Streaming,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::net::House;

/// Stock clients give up on a request after this.
const REPLY_WITHIN: Duration = Duration::from_secs(5);
const MESSAGE_LOOP: &str = "/pbx.Node/MessageLoop";

/// A client with one stream. `M` is what it sends, which need not be what the server expects.
pub(crate) struct Bot<M = ClientMsg> {
    out: mpsc::Sender<M>,
    heard: Streaming<ServerMsg>,
}

/// A connection for any number of streams.
pub(crate) async fn channel(house: &House) -> Channel {
    let address = house.grpc.expect("the domain speaks gRPC");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// How a call of this name ends that sends nothing.
pub(crate) async fn calls(house: &House, path: &'static str) -> Code {
    let mut grpc = Grpc::new(channel(house).await);
    grpc.ready().await.unwrap();
    let nothing = tonic::Request::new(stream::empty::<ClientMsg>());
    let path = PathAndQuery::from_static(path);
    let codec = ProstCodec::<ClientMsg, ServerMsg>::default();
    match grpc.streaming(nothing, path, codec).await {
        Ok(response) => match response.into_inner().message().await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        },
        Err(status) => status.code(),
    }
}

impl<M: Message + 'static> Bot<M> {
    pub(crate) async fn connect(house: &House) -> Self {
        Self::open(channel(house).await).await.unwrap()
    }

    /// One more stream.
    pub(crate) async fn open(channel: Channel) -> Result<Self, Status> {
        let (out, mut queue) = mpsc::channel(64);
        let said = stream::poll_fn(move |context| queue.poll_recv(context));
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static(MESSAGE_LOOP);
        let codec = ProstCodec::<M, ServerMsg>::default();
        let response = grpc
            .streaming(tonic::Request::new(said), path, codec)
            .await?;
        Ok(Self {
            out,
            heard: response.into_inner(),
        })
    }

    pub(crate) async fn sends(&self, message: M) {
        self.out.send(message).await.unwrap();
    }

    /// The next message; none when the server has ended the stream in good order.
    pub(crate) async fn next(&mut self) -> Result<Option<Heard>, Status> {
        let next = timeout(REPLY_WITHIN, self.heard.message()).await;
        let message = next.expect("the server answers in time")?;
        Ok(message.map(|it| it.message.expect("a message says something")))
    }

    /// The first message that fits.
    pub(crate) async fn waits<T>(&mut self, fits: impl Fn(Heard) -> Option<T>) -> T {
        loop {
            let heard = self.next().await.unwrap();
            if let Some(found) = fits(heard.expect("the stream lives")) {
                return found;
            }
        }
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> ServerCtrl {
        self.waits(|it| match it {
            Heard::Ctrl(ctrl) => Some(ctrl),
            _ => None,
        })
        .await
    }

    /// Says no more, and waits for the end.
    pub(crate) async fn hangs_up(self) {
        let Self { out, mut heard } = self;
        drop(out);
        let end = async { while let Ok(Some(_)) = heard.message().await {} };
        timeout(REPLY_WITHIN, end).await.expect("the stream ends");
    }
}

impl Bot {
    /// Sends a request, and takes the next answer for its own.
    pub(crate) async fn asks(&mut self, said: Said) -> ServerCtrl {
        self.sends(ClientMsg {
            message: Some(said),
            extra: None,
        })
        .await;
        self.answer().await
    }

    /// Sends a request and does not listen; false when nobody takes it any more.
    pub(crate) async fn tries_to_send(&self, said: Said) -> bool {
        let message = ClientMsg {
            message: Some(said),
            extra: None,
        };
        let sending = timeout(Duration::from_secs(2), self.out.send(message));
        matches!(sending.await, Ok(Ok(())))
    }

    pub(crate) async fn greets(&mut self) {
        let hi = ClientHi {
            ver: "0.22.3".to_owned(),
            user_agent: "bot/1".to_owned(),
            ..Default::default()
        };
        assert_eq!(self.asks(Said::Hi(hi)).await.code, 201);
    }

    /// A new account, logged in.
    pub(crate) async fn registered(house: &House, login: &str) -> Self {
        let mut bot = Self::connect(house).await;
        bot.greets().await;
        let acc = ClientAcc {
            user_id: "new".to_owned(),
            scheme: "basic".to_owned(),
            secret: format!("{login}:a long secret").into(),
            login: true,
            ..Default::default()
        };
        assert_eq!(bot.asks(Said::Acc(acc)).await.code, 200);
        bot
    }

    /// Somebody who has an account, in by a token.
    pub(crate) async fn of(house: &House, person: &Person) -> Self {
        use base64::{Engine as _, engine::general_purpose::STANDARD};

        let mut bot = Self::connect(house).await;
        bot.greets().await;
        let login = ClientLogin {
            scheme: "token".to_owned(),
            secret: STANDARD.decode(&person.token).unwrap().into(),
            ..Default::default()
        };
        assert_eq!(bot.asks(Said::Login(login)).await.code, 200);
        bot
    }

    pub(crate) async fn attaches(&mut self, topic: &str) -> ServerCtrl {
        self.asks(Said::Sub(ClientSub {
            id: "sub".to_owned(),
            topic: topic.to_owned(),
            ..Default::default()
        }))
        .await
    }
}
