//! The HTTP server that the sandboxes share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod planner_support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use calbridge_sandbox::server::{Body, Reply, Request, Response, Server, ServerOptions};
use futures_util::StreamExt;
use http::StatusCode;
use planner_support::http;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn answering(request: Request) -> Reply {
    let hello = Response::text(StatusCode::OK, "hello, world");
    match request.uri.path() {
        "/echo" => Response::text(StatusCode::OK, request.body).into(),
        "/connection" => Response::text(StatusCode::OK, request.peer.connection.to_string()).into(),
        "/twice" => Reply::Twice(hello),
        "/raw" => Reply::Raw {
            bytes: Bytes::from_static(b"HTTP/1.1 299 odd\r\ncontent-length: 0\r\n\r\n"),
            close: false,
        },
        "/cut" => Reply::Truncate {
            response: hello,
            bytes: 5,
        },
        "/stream" | "/cut-stream" => {
            let pieces = futures_util::stream::iter(
                ["one ", "two ", "three"].map(|text| Ok(Bytes::from_static(text.as_bytes()))),
            );
            let response = Response {
                body: Body::Stream(pieces.boxed()),
                ..hello
            };
            if request.uri.path() == "/stream" {
                response.into()
            } else {
                Reply::Truncate { response, bytes: 6 }
            }
        }
        _ => hello.into(),
    }
}

async fn server() -> Server {
    Server::start(
        ServerOptions {
            body_limit: 1000,
            ..ServerOptions::default()
        },
        answering,
    )
    .await
    .unwrap()
}

/// Sends bytes and reads until the other end is silent or gone.
async fn raw(server: &Server, requests: &[&str]) -> String {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let mut answer = Vec::new();
    for path in requests {
        socket
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut buffer = [0; 4096];
        while let Ok(Ok(count)) =
            tokio::time::timeout(Duration::from_millis(700), socket.read(&mut buffer)).await
        {
            if count == 0 {
                answer.extend_from_slice(b"<end>");
                break;
            }
            answer.extend_from_slice(&buffer[..count]);
        }
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn bodies_up_to_the_limit_are_read() {
    let server = server().await;
    let send = |size: usize| {
        http()
            .post(server.url("/echo"))
            .body("x".repeat(size))
            .send()
    };
    assert_eq!(send(1000).await.unwrap().text().await.unwrap().len(), 1000);
    assert_eq!(send(1001).await.unwrap().status(), 413);
}

#[tokio::test]
async fn connections_are_numbered_and_kept() {
    let server = server().await;
    let client = http();
    for _ in 0..2 {
        let response = client.get(server.url("/connection")).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "1");
    }
    assert_eq!(
        http()
            .get(server.url("/connection"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "2"
    );
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_cut_answer_promises_more_than_it_sends() {
    let server = server().await;
    let answer = raw(&server, &["/cut"]).await;
    assert!(answer.contains("content-length: 12"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello<end>"), "{answer}");
    assert!(
        http()
            .get(server.url("/cut"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .is_err()
    );
    assert!(
        http()
            .get(server.url("/cut-stream"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .is_err()
    );
    let whole = http()
        .get(server.url("/stream"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(whole, "one two three");
}

#[tokio::test]
async fn a_second_answer_comes_on_the_same_connection() {
    let server = server().await;
    let answer = raw(&server, &["/twice", "/echo"]).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert_eq!(answer.matches("hello, world").count(), 2, "{answer}");
    assert!(!answer.contains("<end>"), "{answer}");
}

#[tokio::test]
async fn raw_bytes_replace_the_answer_and_the_connection_goes_on() {
    let server = server().await;
    let answer = raw(&server, &["/raw", "/"]).await;
    assert!(answer.starts_with("HTTP/1.1 299 odd\r\n"), "{answer}");
    assert!(answer.ends_with("hello, world"), "{answer}");
}

/// A server that says when a request has come, then answers after a while or never.
async fn telling(answer_after: Option<Duration>) -> (Server, Arc<Notify>) {
    let come = Arc::new(Notify::new());
    let tell = Arc::clone(&come);
    let handler = move |_: Request| {
        let tell = Arc::clone(&tell);
        async move {
            tell.notify_one();
            match answer_after {
                Some(time) => tokio::time::sleep(time).await,
                None => return Reply::Hang,
            }
            Response::text(StatusCode::OK, "late").into()
        }
    };
    (
        Server::start(ServerOptions::default(), handler)
            .await
            .unwrap(),
        come,
    )
}

#[tokio::test]
async fn stopping_lets_requests_finish_and_frees_the_port() {
    let (server, come) = telling(Some(Duration::from_millis(300))).await;
    let url = server.url("/");
    let request = tokio::spawn(async move { http().get(url).send().await.unwrap().text().await });
    come.notified().await;
    server.stop().await;
    assert_eq!(request.await.unwrap().unwrap(), "late");
    let again = ServerOptions {
        listen: server.address(),
        ..ServerOptions::default()
    };
    Server::start(again, answering).await.unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let (server, come) = telling(None).await;
    let url = server.url("/");
    let request = tokio::spawn(async move { http().get(url).send().await });
    come.notified().await;
    tokio::time::timeout(Duration::from_secs(30), server.stop())
        .await
        .unwrap();
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn dropping_ends_connections_at_once() {
    let (server, come) = telling(None).await;
    let url = server.url("/");
    let request = tokio::spawn(async move { http().get(url).send().await });
    come.notified().await;
    drop(server);
    // Without a deadline of its own the client would wait for ever.
    let ended = tokio::time::timeout(Duration::from_secs(30), request).await;
    assert!(ended.unwrap().unwrap().is_err());
}
