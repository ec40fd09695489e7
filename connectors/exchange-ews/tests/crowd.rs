//! Many calendars at once, some of them in trouble, on a server that answers twice after a fault.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::ErrorKind;
use support::script::{Script, folder, found, http, item, sync};
use support::{ANNA, BO, ROOM, read, request, winter};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calendars_in_trouble_hand_no_answers_to_others() {
    let server = Script::start(move |body, _| {
        if body.contains(BO) {
            let fault = "<S:Envelope xmlns:S='S'><S:Body><S:Fault><faultcode>SOAP:Client</faultcode><faultstring>No.</faultstring></S:Fault></S:Body></S:Envelope>";
            // As of the operation, and without content.
            let second = "<S:Envelope xmlns:S='S'><S:Header/><S:Body><m:GetFolderResponse xmlns:m='m'><m:ResponseMessages/></m:GetFolderResponse></S:Body></S:Envelope>";
            return http("200 OK", fault) + &http("200 OK", second);
        }
        let whose = if body.contains(ANNA) { "A" } else { "R" };
        if body.contains("GetFolder") {
            return folder(whose);
        }
        assert!(body.contains(&format!(r#"Id="{whose}""#)), "folders do not mix");
        if body.contains("<m:SyncFolderItems>") {
            return sync("s1", "");
        }
        found(&[item(
            whose,
            "Single",
            "2026-12-02T08:00:00Z",
            "2026-12-02T09:00:00Z",
            support::script::ZONE,
        )])
    })
    .await;
    let connection = server.connect();
    for _ in 0..8 {
        let readings = (0..12).map(|n| {
            let address = [ANNA, BO, ROOM][n % 3];
            let connection = connection.clone();
            tokio::spawn(async move {
                let feed = read(connection.as_ref(), request(address, winter())).await;
                (address, feed)
            })
        });
        for reading in futures_util::future::join_all(readings).await {
            match reading.unwrap() {
                (BO, result) => assert_eq!(result.unwrap_err().kind, ErrorKind::Protocol),
                (address, result) => {
                    let feed = result.unwrap();
                    let own = if address == ANNA { "A" } else { "R" };
                    assert_eq!(feed.events[0].item.id, own);
                }
            }
        }
    }
}
