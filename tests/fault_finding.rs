//! The manual's list for the search of faults, row by row: "appointments are not synchronised from Outlook (Exchange)". What
//! an operator looked up in tables and consoles `explain` says.
#![cfg(all(feature = "sandbox", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_sandbox::exchange::{Account, Impersonation};
use support::{ANNA, BO, World, ahead};

async fn explained(world: &World, address: &str, code: i32) -> String {
    world.run(&["explain", address]).await.expect(code).stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_1_and_2_whoever_planner_does_not_name_is_told() {
    let world = World::new().await;
    world.run(&["sync"]).await.expect(0);
    world
        .exchange
        .add_person("Cleo", "cleo@kommune.example")
        .unwrap();
    let text = world.run(&["explain", "cleo@kommune.example"]).await.all();
    assert!(
        text.contains("the roster of `planner` does not name it now"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_a_mailbox_that_exchange_does_not_have_is_told_with_what_to_do() {
    // Kommuneklienten: 4906, 4931, 4938.
    let world = World::new().await;
    world
        .exchange
        .inject_spec("*@anna@kommune.example*all=fault:ErrorNonExistentMailbox")
        .unwrap();
    world.run(&["sync"]).await;
    let text = explained(&world, ANNA, 0).await;
    assert!(text.contains("ews.ErrorNonExistentMailbox"), "{text}");
    // Row 6: who has left is to be removed from Planner, too; row 7: or taken out here.
    assert!(
        text.contains("should be removed from the system that gives the roster"),
        "{text}"
    );
    assert!(text.contains("roster.deny"), "{text}");
    // Others are not affected.
    let other = explained(&world, BO, 0).await;
    assert!(
        other.contains("+ `exchange`: The calendar is there"),
        "{other}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_3_a_right_that_lacks_is_told_with_the_commands_that_give_it() {
    let world = World::new().await;
    let mut account = Account::service("svc-calbridge", "sandbox");
    account.impersonation = Impersonation::Only(vec![BO.into()]);
    world.exchange.set_accounts(vec![account]);
    let text = explained_new(&world, ANNA).await;
    assert!(text.contains("ews.ErrorImpersonateUserDenied"), "{text}");
    assert!(
        text.contains("New-ManagementScope -Name calbridge"),
        "{text}"
    );
    assert!(
        text.contains("-Role ApplicationImpersonation -User 'svc-calbridge'"),
        "{text}"
    );
    let other = explained_new(&world, BO).await;
    assert!(!other.contains("New-ManagementScope"), "{other}");
    assert!(
        other.contains("+ `exchange`: The account may impersonate the mailbox."),
        "{other}"
    );
}

async fn explained_new(world: &World, address: &str) -> String {
    world.run(&["sync"]).await;
    explained(world, address, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn appointments_whose_details_cannot_be_read_are_told() {
    // Kommuneklienten: 2903.
    let world = World::new().await;
    world.run(&["sync"]).await.expect(0);
    world
        .exchange
        .inject_spec("FindItem*all=error:ErrorAccessDenied")
        .unwrap();
    let text = explained(&world, ANNA, 0).await;
    assert!(
        text.contains("! `exchange`: the account may not read this calendar"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_5_the_code_of_the_last_trouble_is_told() {
    let world = World::new().await;
    world
        .exchange
        .inject_spec("*@anna@kommune.example*all=fault:ErrorAccountDisabled")
        .unwrap();
    world.run(&["sync"]).await;
    world.exchange.clear_faults();
    let text = world
        .run(&["explain", ANNA, "--offline"])
        .await
        .expect(0)
        .stdout;
    assert!(text.contains("ews.ErrorAccountDisabled"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_7_whoever_is_denied_is_told() {
    let world = World::new().await;
    world.configure(|text| text + "roster = { deny = [\"anna@kommune.example\"] }\n");
    world.run(&["sync"]).await.expect(0);
    let text = explained(&world, ANNA, 0).await;
    assert!(
        text.contains("the deny list (`roster.deny`) names it"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_one_calendar_are_written_down_for_support() {
    let world = World::new().await;
    world.appointment(
        ANNA,
        "Statusmøde med Hansen",
        &ahead(2, "09:00"),
        &ahead(2, "10:00"),
    );
    let folder = world.config().parent().unwrap().to_owned();
    for (number, command) in ["check", "sync", "plan"].into_iter().enumerate() {
        let file = folder.join(format!("trace{number}.txt"));
        let name = file.to_str().unwrap();
        let args = [command, "--calendar", ANNA, "--trace-wire", name];
        world.run(&args).await.expect(0);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("GetFolder") || text.contains("SyncFolderItems"),
            "{command} {text}"
        );
        for secret in [
            "anna",
            "Hansen",
            "Statusm",
            "svc-calbridge",
            "c3ZjLWNhbGJyaWRnZT",
        ] {
            assert!(!text.contains(secret), "{command} {secret} {text}");
        }
    }
    let file = folder.join("none.txt");
    let name = file.to_str().unwrap();
    world.run(&["sync", "--trace-wire", name]).await.expect(2);
    world
        .run(&[
            "sync",
            "--calendar",
            ANNA,
            "--calendar",
            BO,
            "--trace-wire",
            name,
        ])
        .await
        .expect(2);
    assert!(!file.exists());
}
