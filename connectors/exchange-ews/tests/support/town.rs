//! Names without a name server: a proxy that leads the names of a site to servers of the sandbox, and to nobody else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use calbridge_core::clock::FixedClock;
use calbridge_core::connector::{Connection, Connector, Context, Result};
use calbridge_core::secret::SecretResolver;
use calbridge_exchange_ews::ExchangeEws;
use calbridge_sandbox::exchange::{Account, ExchangeOptions, ExchangeSandbox, Profile, SignIn};
use calbridge_sandbox::server::ServerOptions;
use calbridge_sandbox::tls::{CertificateSpec, ClientAuth, Pki, server_config};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{ANNA, BO, Secrets, at};

pub const USER: &str = "KOMMUNE\\svc-calbridge";
pub const AUTODISCOVER: &str = "autodiscover.kommune.example";
pub const MAIL: &str = "mail.kommune.example";

/// A proxy that connects to what has a route.
pub struct Proxy {
    address: SocketAddr,
    routes: Arc<Mutex<BTreeMap<String, SocketAddr>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            routes: Arc::default(),
            asked: Arc::default(),
        };
        let (routes, asked) = (Arc::clone(&proxy.routes), Arc::clone(&proxy.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (routes, asked) = (Arc::clone(&routes), Arc::clone(&asked));
                tokio::spawn(async move {
                    let _ = tunnel(stream, &routes, &asked).await;
                });
            }
        });
        proxy
    }

    /// What was asked for so far: `CONNECT name:port`, or another method's first line.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn tunnel(
    stream: TcpStream,
    routes: &Mutex<BTreeMap<String, SocketAddr>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line.trim().is_empty() {
            break;
        }
    }
    let mut words = first.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    asked.lock().unwrap().push(format!("{method} {target}"));
    let route = routes.lock().unwrap().get(target).copied();
    let Some(route) = route.filter(|_| method == "CONNECT") else {
        return stream
            .write_all(
                b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            )
            .await;
    };
    let mut server = TcpStream::connect(route).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut stream, &mut server).await?;
    Ok(())
}

/// A site: servers by name.
pub struct Town {
    pub proxy: Proxy,
    pub clock: Arc<FixedClock>,
    pub secrets: Arc<Secrets>,
    pki: Pki,
    folder: tempfile::TempDir,
}

impl Town {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new().unwrap();
        pki.write_ca(&folder.path().join("ca.pem")).unwrap();
        Self {
            proxy: Proxy::start().await,
            clock: Arc::new(FixedClock::new(at("2026-11-20T08:00:00Z"))),
            secrets: Arc::new(Secrets(Mutex::new(BTreeMap::from([(
                "env:EXCHANGE".to_owned(),
                "sandbox".to_owned(),
            )])))),
            pki,
            folder,
        }
    }

    /// A server that answers to these names, with Anna's and Bo's mailboxes, by Basic.
    pub async fn server(&self, names: &[&str]) -> ExchangeSandbox {
        self.server_with(names, names, SignIn::default(), Profile::Exchange2019)
            .await
    }

    /// As [`server`](Self::server), with a certificate for other names.
    pub async fn server_with(
        &self,
        names: &[&str],
        certified: &[&str],
        sign_in: SignIn,
        profile: Profile,
    ) -> ExchangeSandbox {
        let spec = CertificateSpec::server_for(certified.iter().copied());
        let identity = self.pki.issue(&spec).unwrap();
        let exchange = ExchangeSandbox::start(ExchangeOptions {
            server: ServerOptions {
                tls: Some(server_config(&identity, &self.pki.ca_der(), ClientAuth::None).unwrap()),
                ..ServerOptions::default()
            },
            accounts: vec![Account::service(USER, "sandbox")],
            profile,
            sign_in: SignIn {
                certificate: Some(identity.certificate_der.to_vec()),
                ..sign_in
            },
            require_anchor: true,
            ..ExchangeOptions::default()
        })
        .await
        .unwrap();
        exchange.add_person("Anna Berg", ANNA).unwrap();
        exchange.add_person("Bo Dahl", BO).unwrap();
        for name in names {
            self.route(name, &exchange);
        }
        exchange
    }

    /// Leads a name to a server.
    pub fn route(&self, name: &str, exchange: &ExchangeSandbox) {
        let name = match name.contains(':') {
            true => name.to_owned(),
            false => format!("{name}:443"),
        };
        let address = exchange.server().address();
        self.proxy.routes.lock().unwrap().insert(name, address);
    }

    /// Nobody answers to a name any more.
    pub fn lose(&self, name: &str) {
        let mut routes = self.proxy.routes.lock().unwrap();
        routes.remove(&format!("{name}:443"));
    }

    /// Settings that look mailboxes up.
    pub fn settings(&self) -> Value {
        json!({
            "autodiscover": { "domains": ["kommune.example"] },
            "auth": { "kind": "basic", "user": USER, "password": "env:EXCHANGE" },
            "http": {
                "timeout": "5s",
                "proxy": format!("http://{}", self.proxy.address),
                "extra_ca": [self.folder.path().join("ca.pem")],
            },
        })
    }

    pub fn open(&self, settings: Value) -> Result<Arc<dyn Connection>> {
        let context = Context {
            connection: "exchange".into(),
            clock: Arc::clone(&self.clock) as _,
            secrets: Arc::clone(&self.secrets) as Arc<dyn SecretResolver>,
            shutdown: tokio_util::sync::CancellationToken::new(),
        };
        let entry = calbridge_core::connector::find(ExchangeEws::ID).expect("registered");
        entry.open(settings, context)
    }
}
