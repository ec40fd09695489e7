//! Autodiscover over SOAP: GetUserSettings (Autodiscover SOAP, `GetUserSettingsRequestMessage`; Exchange 2010 and later). It
//! alone tells which mailboxes belong together, reliably.

use url::Url;

use super::said::{Said, Settings, usable};
use super::trouble::Unreadable;
use crate::soap::escape;
use crate::xml::Pull;

/// The address to ask.
pub(crate) fn url(base: &Url) -> Option<Url> {
    base.join("/autodiscover/autodiscover.svc").ok()
}

/// What is asked about a mailbox. `to` is the address that it is sent to.
pub(crate) fn request(to: &Url, address: &str) -> String {
    format!(
        concat!(
            r#"<?xml version="1.0" encoding="utf-8"?>"#,
            r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/""#,
            r#" xmlns:a="http://schemas.microsoft.com/exchange/2010/Autodiscover""#,
            r#" xmlns:wsa="http://www.w3.org/2005/08/addressing">"#,
            r#"<s:Header><a:RequestedServerVersion>Exchange2013</a:RequestedServerVersion>"#,
            r#"<wsa:Action>http://schemas.microsoft.com/exchange/2010/Autodiscover/Autodiscover/GetUserSettings</wsa:Action>"#,
            r#"<wsa:To>{to}</wsa:To></s:Header>"#,
            r#"<s:Body><a:GetUserSettingsRequestMessage><a:Request>"#,
            r#"<a:Users><a:User><a:Mailbox>{address}</a:Mailbox></a:User></a:Users>"#,
            r#"<a:RequestedSettings><a:Setting>ExternalEwsUrl</a:Setting><a:Setting>InternalEwsUrl</a:Setting>"#,
            r#"<a:Setting>GroupingInformation</a:Setting></a:RequestedSettings>"#,
            r#"</a:Request></a:GetUserSettingsRequestMessage></s:Body></s:Envelope>"#,
        ),
        to = escape(to.as_str()),
        address = escape(address),
    )
}

/// One level's code, and where it redirects to.
#[derive(Default)]
struct Level {
    code: String,
    target: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// It is no such answer.
pub(crate) fn read(document: &str) -> Result<Said, Unreadable> {
    let mut pull = Pull::new(document);
    if pull.root()?.name != "Envelope" {
        return Err(Unreadable::Lacks("an envelope"));
    }
    let mut whole = None;
    let mut user = None;
    let mut settings = Settings::default();
    let mut external = None;
    let mut internal = None;
    let mut fault = false;
    pull.children::<Unreadable>(|pull, open| {
        if open.name != "Body" {
            return Ok(());
        }
        pull.children::<Unreadable>(|pull, open| {
            fault |= open.name == "Fault";
            if open.name != "GetUserSettingsResponseMessage" {
                return Ok(());
            }
            pull.children::<Unreadable>(|pull, open| {
                if open.name != "Response" {
                    return Ok(());
                }
                let mut level = Level::default();
                pull.children::<Unreadable>(|pull, open| {
                    if open.name != "UserResponses" {
                        return level.take(pull, &open.name);
                    }
                    pull.children::<Unreadable>(|pull, open| {
                        // One mailbox was asked about.
                        if open.name != "UserResponse" || user.is_some() {
                            return Ok(());
                        }
                        let mut own = Level::default();
                        pull.children::<Unreadable>(|pull, open| {
                            if open.name != "UserSettings" {
                                return own.take(pull, &open.name);
                            }
                            for (name, value) in values(pull)? {
                                match name.as_str() {
                                    "ExternalEwsUrl" => external = Some(value),
                                    "InternalEwsUrl" => internal = Some(value),
                                    "GroupingInformation" => settings.group = usable(&value),
                                    _ => {}
                                }
                            }
                            Ok(())
                        })?;
                        user = Some(own);
                        Ok(())
                    })
                })?;
                whole = Some(level);
                Ok(())
            })
        })
    })?;
    pull.finish()?;
    if fault {
        return Ok(Said::Refused);
    }
    let whole = whole.ok_or(Unreadable::Lacks("a response"))?;
    for url in [external, internal].into_iter().flatten() {
        settings.add(&url);
    }
    if let Some(said) = whole.said()? {
        return Ok(said);
    }
    let user = user.ok_or(Unreadable::Lacks("a response about the mailbox"))?;
    Ok(match user.said()? {
        Some(said) => said,
        None => Said::Settings(settings),
    })
}

impl Level {
    fn take(&mut self, pull: &mut Pull<'_>, name: &str) -> Result<(), Unreadable> {
        match name {
            "ErrorCode" => pull.text()?.trim().clone_into(&mut self.code),
            "RedirectTarget" => self.target = usable(&pull.text()?),
            _ => {}
        }
        Ok(())
    }

    /// What it says by itself; nothing where all is well.
    fn said(self) -> Result<Option<Said>, Unreadable> {
        let target = || self.target.clone().ok_or(Unreadable::Lacks("where to"));
        Ok(Some(match self.code.as_str() {
            "NoError" => return Ok(None),
            "RedirectAddress" => Said::Address(target()?),
            "RedirectUrl" => Said::Url(target()?),
            "InvalidUser" => Said::Unknown,
            "ServerBusy" => Said::Busy,
            "" => return Err(Unreadable::Lacks("an error code")),
            _ => Said::Refused,
        }))
    }
}

/// `UserSetting` elements: names and values.
fn values(pull: &mut Pull<'_>) -> Result<Vec<(String, String)>, Unreadable> {
    let mut found = Vec::new();
    pull.children::<Unreadable>(|pull, _| {
        let (mut name, mut value) = (String::new(), String::new());
        pull.children::<Unreadable>(|pull, open| {
            match open.name.as_str() {
                "Name" => name = pull.text()?.trim().to_owned(),
                "Value" => value = pull.text()?,
                _ => {}
            }
            Ok(())
        })?;
        found.push((name, value));
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(whole: &str, user: &str) -> String {
        format!(
            r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header/><s:Body>
            <GetUserSettingsResponseMessage xmlns="http://schemas.microsoft.com/exchange/2010/Autodiscover">
            <Response xmlns:i="http://www.w3.org/2001/XMLSchema-instance">{whole}<UserResponses>{user}</UserResponses></Response>
            </GetUserSettingsResponseMessage></s:Body></s:Envelope>"#
        )
    }

    const FINE: &str = "<ErrorCode>NoError</ErrorCode><ErrorMessage/>";

    #[test]
    fn settings_with_the_outer_address_first() {
        let user = r#"<UserResponse><ErrorCode>NoError</ErrorCode><RedirectTarget i:nil="true"/><UserSettingErrors/><UserSettings>
            <UserSetting i:type="StringSetting"><Name>InternalEwsUrl</Name><Value>https://ex1.kommune.local/EWS/Exchange.asmx</Value></UserSetting>
            <UserSetting i:type="StringSetting"><Name>GroupingInformation</Name><Value>Default-First-Site-Name</Value></UserSetting>
            <UserSetting i:type="StringSetting"><Name>ExternalEwsUrl</Name><Value>https://mail.kommune.example/EWS/Exchange.asmx</Value></UserSetting>
            </UserSettings></UserResponse>"#;
        let said = read(&answer(FINE, user)).unwrap();
        let expected = Settings {
            ews: vec![
                "https://mail.kommune.example/EWS/Exchange.asmx".into(),
                "https://ex1.kommune.local/EWS/Exchange.asmx".into(),
            ],
            group: Some("Default-First-Site-Name".into()),
            online: false,
        };
        assert_eq!(said, Said::Settings(expected));
    }

    #[test]
    fn redirections_and_errors_on_both_levels() {
        let user = |code: &str, target: &str| {
            let user = format!(
                "<UserResponse><ErrorCode>{code}</ErrorCode><RedirectTarget>{target}</RedirectTarget></UserResponse>"
            );
            read(&answer(FINE, &user))
        };
        assert_eq!(
            user("RedirectAddress", "a@b.example"),
            Ok(Said::Address("a@b.example".into()))
        );
        assert_eq!(
            user("RedirectUrl", "https://b.example/"),
            Ok(Said::Url("https://b.example/".into()))
        );
        assert!(user("RedirectUrl", "").is_err());
        assert_eq!(user("InvalidUser", ""), Ok(Said::Unknown));
        assert_eq!(user("ErrorOfTomorrow", ""), Ok(Said::Refused));
        assert_eq!(
            read(&answer("<ErrorCode>ServerBusy</ErrorCode>", "")),
            Ok(Said::Busy)
        );
        assert!(read(&answer(FINE, "")).is_err());
        let fault = "<s:Envelope xmlns:s='x'><s:Body><s:Fault><faultcode>x</faultcode></s:Fault></s:Body></s:Envelope>";
        assert_eq!(read(fault), Ok(Said::Refused));
    }

    #[test]
    fn what_is_no_answer() {
        for text in [
            "",
            "<html/>",
            "<Envelope/>",
            "<!DOCTYPE x [<!ENTITY e \"x\">]><Envelope/>",
            "<Envelope><Body></Envelope>",
            "{}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&"<Envelope>".repeat(5_000)).is_err());
    }

    #[test]
    fn addresses_are_escaped() {
        let to = Url::parse("https://x.example/autodiscover/autodiscover.svc?a=1&b=2").unwrap();
        let text = request(&to, "a<&>@x.example");
        assert!(text.contains("a&lt;&amp;&gt;@x.example") && text.contains("a=1&amp;b=2"));
    }
}
