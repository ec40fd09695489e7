//! Certificates and authorities: each refusal must be recognisable for what it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod planner_support;

use calbridge_sandbox::planner::{
    KnownCertificate, PlannerOptions, PlannerSandbox, access_code, holder as read_holder,
};
use calbridge_sandbox::tls::{
    CertificateSpec, ClientAuth, Pkcs12Encryption, Pki, Signer, Validity,
};
use planner_support::*;

fn known() -> Vec<KnownCertificate> {
    vec![KnownCertificate::opened(HOLDER, JOBCENTER)]
}

#[tokio::test]
async fn an_opened_certificate_is_served() {
    let pki = Pki::new().unwrap();
    let planner = secure(&pki, known()).await;
    assert!(planner.url().starts_with("https://"));
    let client = https(&pki, Some(&holder(&pki)));
    let answer = try_call(&client, &planner, "CreateEvents", &plain_event(ANNA, "a"))
        .await
        .unwrap();
    assert_eq!(answer.codes(), [0]);
    assert_eq!(
        planner.ledger().last().unwrap().detail.holder.as_deref(),
        Some(HOLDER)
    );
}

#[tokio::test]
async fn oces3_holders_are_read_in_both_styles() {
    let pki = Pki::new().unwrap();
    let uuid = "0f6f1a52-7f3f-4a38-9a55-3a5b3e1f9d11";
    let name = format!("CVR:12345678-UUID:{uuid}");
    let old = pki.issue(&CertificateSpec::client(&name)).unwrap();
    assert_eq!(
        read_holder(&old.certificate_der).as_deref(),
        Some(name.as_str())
    );
    let new = CertificateSpec {
        organisation_identifier: Some("NTRDK-12345678".to_owned()),
        ..CertificateSpec::client(&format!("UI:DK-O:G:{uuid}"))
    };
    let new = pki.issue(&new).unwrap();
    assert_eq!(
        read_holder(&new.certificate_der).as_deref(),
        Some(name.as_str())
    );

    let planner = secure(&pki, vec![KnownCertificate::opened(&name, JOBCENTER)]).await;
    let body = envelope(
        "GetResources",
        &Who {
            user: &name,
            ..Who::default()
        },
        "",
    );
    let answer = post(
        &https(&pki, Some(&new)),
        &planner.url(),
        &action("GetResources"),
        body,
    )
    .await
    .unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn certificates_of_strangers_and_outside_their_time_fail_in_the_handshake() {
    let pki = Pki::new().unwrap();
    let planner = secure(&pki, known()).await;
    let bad = [
        None,
        Some(CertificateSpec::client(HOLDER).signed_by(Signer::Stranger)),
        Some(CertificateSpec::client(HOLDER).signed_by(Signer::Itself)),
        Some(CertificateSpec::client(HOLDER).valid(Validity::Expired)),
        Some(CertificateSpec::client(HOLDER).valid(Validity::NotYet)),
    ];
    for spec in bad {
        let identity = spec.as_ref().map(|spec| pki.issue(spec).unwrap());
        let client = https(&pki, identity.as_ref());
        let answer = try_call(&client, &planner, "GetResources", "").await;
        assert!(answer.is_err(), "{spec:?}");
    }
    assert!(planner.ledger().is_empty());
}

#[tokio::test]
async fn the_four_refusals_differ() {
    let pki = Pki::new().unwrap();
    let unopened = "CVR:87654321-FID:9999999999999";
    let mut list = known();
    list.push(KnownCertificate {
        opened: false,
        ..KnownCertificate::opened(unopened, JOBCENTER)
    });
    let planner = secure(&pki, list).await;
    let certificate = |name: &str| pki.issue(&CertificateSpec::client(name)).unwrap();

    let unknown = https(&pki, Some(&certificate("CVR:11111111-FID:1111111111111")));
    assert_eq!(
        try_call(&unknown, &planner, "GetResources", "")
            .await
            .unwrap()
            .status,
        403
    );

    let closed = https(&pki, Some(&certificate(unopened)));
    let body = envelope(
        "GetResources",
        &Who {
            user: unopened,
            ..Who::default()
        },
        "",
    );
    let answer = post(&closed, &planner.url(), &action("GetResources"), body)
        .await
        .unwrap();
    assert_eq!(
        answer.fault_code(),
        Some(i64::from(access_code::NOT_OPENED))
    );

    let client = https(&pki, Some(&certificate(HOLDER)));
    let body = envelope(
        "GetResources",
        &Who {
            jobcenter: "10200",
            ..Who::default()
        },
        "",
    );
    let answer = post(&client, &planner.url(), &action("GetResources"), body)
        .await
        .unwrap();
    assert_eq!(
        answer.fault_code(),
        Some(i64::from(access_code::WRONG_AUTHORITY))
    );

    let body = envelope(
        "GetResources",
        &Who {
            user: unopened,
            ..Who::default()
        },
        "",
    );
    let answer = post(&client, &planner.url(), &action("GetResources"), body)
        .await
        .unwrap();
    assert_eq!(
        answer.fault_code(),
        Some(i64::from(access_code::WRONG_USER))
    );

    let codes: Vec<_> = planner
        .ledger()
        .all()
        .into_iter()
        .map(|call| call.code.unwrap())
        .collect();
    assert_eq!(
        codes,
        ["http:403", "fault:1001", "fault:1002", "fault:1003"]
    );
}

#[tokio::test]
async fn a_front_end_that_takes_any_certificate_answers_403() {
    let pki = Pki::new().unwrap();
    let options = PlannerOptions {
        tls: Some(
            pki.server_config(&CertificateSpec::server(), ClientAuth::Any)
                .unwrap(),
        ),
        ..PlannerOptions::secure(&pki, known()).unwrap()
    };
    let planner = PlannerSandbox::start(options).await.unwrap();
    let own = pki
        .issue(&CertificateSpec::client("CVR:22222222-FID:1").signed_by(Signer::Itself))
        .unwrap();
    let answer = try_call(&https(&pki, Some(&own)), &planner, "GetResources", "")
        .await
        .unwrap();
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn clients_can_refuse_the_server() {
    let pki = Pki::new().unwrap();
    for spec in [
        CertificateSpec::server_for(["elsewhere.example"]),
        CertificateSpec::server().valid(Validity::Expired),
        CertificateSpec::server().valid(Validity::NotYet),
        CertificateSpec::server().signed_by(Signer::Stranger),
        CertificateSpec::server().signed_by(Signer::Itself),
    ] {
        let options = PlannerOptions {
            tls: Some(pki.server_config(&spec, ClientAuth::Required).unwrap()),
            ..PlannerOptions::secure(&pki, known()).unwrap()
        };
        let planner = PlannerSandbox::start(options).await.unwrap();
        let client = https(&pki, Some(&holder(&pki)));
        assert!(
            try_call(&client, &planner, "GetResources", "")
                .await
                .is_err(),
            "{spec:?}"
        );
    }
}

#[tokio::test]
async fn identities_are_written_as_pem_files() {
    let pki = Pki::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let identity = holder(&pki);
    let paths = identity.write_to(directory.path(), "client").unwrap();
    pki.write_ca(&directory.path().join("ca.pem")).unwrap();
    assert_eq!(
        std::fs::read_to_string(&paths.combined).unwrap(),
        identity.combined_pem()
    );
    assert!(
        std::fs::read_to_string(paths.key)
            .unwrap()
            .starts_with("-----BEGIN PRIVATE KEY-----")
    );
    let gone = directory.path().join("no/such/directory");
    let error = identity.write_to(&gone, "client").unwrap_err().to_string();
    assert!(error.contains("could not be written"), "{error}");
}

#[tokio::test]
async fn identities_are_written_as_pkcs12() {
    let pki = Pki::new().unwrap();
    let identity = holder(&pki);
    for encryption in [Pkcs12Encryption::Aes256, Pkcs12Encryption::TripleDes] {
        let archive = identity.pkcs12_with("blåbærgrød", encryption).unwrap();
        let read = |password: &str| {
            let policy = p12_keystore::Pkcs12ImportPolicy::Strict;
            p12_keystore::KeyStore::from_pkcs12(&archive, password, policy)
        };
        let store = read("blåbærgrød").unwrap();
        let (_, chain) = store.private_key_chain().unwrap();
        assert_eq!(chain.key().as_der(), identity.key_der);
        assert_eq!(chain.certs().len(), 2);
        assert!(read("wrong").is_err());
    }
}
