//! Autodiscover as Outlook 2007 asks: plain XML ("POX", Autodiscover schema for Outlook, 2006a; Exchange 2007 and later).

use url::Url;

use super::said::{Said, Settings, usable};
use super::trouble::Unreadable;
use crate::soap::escape;
use crate::xml::Pull;

/// The address to ask.
pub(crate) fn url(base: &Url) -> Option<Url> {
    base.join("/autodiscover/autodiscover.xml").ok()
}

/// What is asked about a mailbox.
pub(crate) fn request(address: &str) -> String {
    format!(
        concat!(
            r#"<?xml version="1.0" encoding="utf-8"?>"#,
            r#"<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>"#,
            r#"<EMailAddress>{}</EMailAddress>"#,
            r#"<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>"#,
            r#"</Request></Autodiscover>"#,
        ),
        escape(address)
    )
}

/// What stands in an answer.
#[derive(Default)]
struct Answer {
    action: String,
    address: Option<String>,
    url: Option<String>,
    error: Option<String>,
    settings: Settings,
    /// Of protocols for the inside (`EXCH`).
    inside: Vec<String>,
}

/// Reads an answer.
///
/// # Errors
/// It is no such answer.
pub(crate) fn read(document: &str) -> Result<Said, Unreadable> {
    let mut pull = Pull::new(document);
    if pull.root()?.name != "Autodiscover" {
        return Err(Unreadable::Lacks("the element Autodiscover"));
    }
    let mut answer = None;
    pull.children::<Unreadable>(|pull, open| {
        if open.name == "Response" {
            let mut found = Answer::default();
            pull.children::<Unreadable>(|pull, open| found.part(pull, &open.name))?;
            answer = Some(found);
        }
        Ok(())
    })?;
    pull.finish()?;
    let mut answer = answer.ok_or(Unreadable::Lacks("a response"))?;
    if let Some(code) = answer.error {
        return Ok(match code.as_str() {
            "500" => Said::Unknown,
            "601" | "603" => Said::Busy,
            _ => Said::Refused,
        });
    }
    match answer.action.as_str() {
        "redirectaddr" => answer
            .address
            .map(Said::Address)
            .ok_or(Unreadable::Lacks("where to")),
        "redirecturl" => answer
            .url
            .map(Said::Url)
            .ok_or(Unreadable::Lacks("where to")),
        _ => {
            for url in &answer.inside {
                answer.settings.add(url);
            }
            Ok(Said::Settings(answer.settings))
        }
    }
}

impl Answer {
    /// What stands in `Response`.
    fn part(&mut self, pull: &mut Pull<'_>, name: &str) -> Result<(), Unreadable> {
        match name {
            "Error" => pull.children::<Unreadable>(|pull, open| {
                if open.name == "ErrorCode" {
                    self.error = Some(pull.text()?.trim().to_owned());
                }
                Ok(())
            }),
            "User" => pull.children::<Unreadable>(|pull, open| self.group(pull, &open.name)),
            "Account" => pull.children::<Unreadable>(|pull, open| {
                match open.name.as_str() {
                    "Action" => self.action = pull.text()?.trim().to_ascii_lowercase(),
                    "RedirectAddr" => self.address = usable(&pull.text()?),
                    "RedirectUrl" => self.url = usable(&pull.text()?),
                    "MicrosoftOnline" => {
                        self.settings.online = pull.text()?.trim().eq_ignore_ascii_case("true");
                    }
                    "Protocol" => self.protocol(pull)?,
                    other => self.group(pull, other)?,
                }
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    fn protocol(&mut self, pull: &mut Pull<'_>) -> Result<(), Unreadable> {
        let (mut kind, mut url) = (String::new(), None);
        pull.children::<Unreadable>(|pull, open| {
            match open.name.as_str() {
                "Type" => kind = pull.text()?.trim().to_ascii_uppercase(),
                "EwsUrl" => url = usable(&pull.text()?),
                other => self.group(pull, other)?,
            }
            Ok(())
        })?;
        match (kind.as_str(), url) {
            ("EXPR", Some(url)) => self.settings.add(&url),
            ("EXCH", Some(url)) if self.inside.len() < super::said::MOST_ADDRESSES => {
                self.inside.push(url);
            }
            _ => {}
        }
        Ok(())
    }

    fn group(&mut self, pull: &mut Pull<'_>, name: &str) -> Result<(), Unreadable> {
        if name == "GroupingInformation" {
            self.settings.group = usable(&pull.text()?);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn account(content: &str) -> Result<Said, Unreadable> {
        read(&format!(
            r#"<?xml version="1.0"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"><Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a">
            <User><DisplayName>Anna</DisplayName><GroupingInformation>Site</GroupingInformation></User>
            <Account><AccountType>email</AccountType>{content}</Account></Response></Autodiscover>"#
        ))
    }

    #[test]
    fn settings_with_the_outer_address_first() {
        let said = account(
            "<Action>settings</Action><MicrosoftOnline>False</MicrosoftOnline>\
             <Protocol><Type>EXCH</Type><EwsUrl>https://ex1.kommune.local/EWS/Exchange.asmx</EwsUrl></Protocol>\
             <Protocol><Type>EXPR</Type><EwsUrl>https://mail.kommune.example/EWS/Exchange.asmx</EwsUrl></Protocol>\
             <Protocol><Type>WEB</Type><EwsUrl>https://no.example/</EwsUrl></Protocol>",
        );
        let Ok(Said::Settings(settings)) = said else {
            unreachable!("{said:?}")
        };
        assert_eq!(
            settings.ews,
            [
                "https://mail.kommune.example/EWS/Exchange.asmx",
                "https://ex1.kommune.local/EWS/Exchange.asmx"
            ]
        );
        assert_eq!(settings.group.as_deref(), Some("Site"));
        assert!(!settings.online);
    }

    #[test]
    fn redirections_and_errors() {
        assert_eq!(
            account("<Action>redirectAddr</Action><RedirectAddr>a@b.example</RedirectAddr>"),
            Ok(Said::Address("a@b.example".into()))
        );
        assert_eq!(
            account("<Action>redirectUrl</Action><RedirectUrl>https://b.example/</RedirectUrl>"),
            Ok(Said::Url("https://b.example/".into()))
        );
        assert!(account("<Action>redirectUrl</Action>").is_err());
        let error = |code: &str| {
            read(&format!(
                "<Autodiscover><Response><Error Time='1'><ErrorCode>{code}</ErrorCode><Message>x</Message></Error></Response></Autodiscover>"
            ))
        };
        assert_eq!(error("500"), Ok(Said::Unknown));
        assert_eq!(error("600"), Ok(Said::Refused));
    }

    #[test]
    fn what_is_no_answer() {
        for text in [
            "",
            "<html/>",
            "<Autodiscover/>",
            "<!DOCTYPE Autodiscover><Autodiscover/>",
            "<Autodiscover><Response>",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
