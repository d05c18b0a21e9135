//! What the mails say: plain text, with a link into the web app where that can be made.

use std::fmt::Write as _;

use lettre::{
    Message,
    message::{Mailbox, header::ContentType},
};

/// A mail to be written.
#[derive(Clone, Debug)]
pub enum Letter {
    /// Confirm that this address is yours.
    Confirm {
        /// The address.
        to: String,
        /// The code to type.
        code: String,
        /// For the link, where it may lead into the account.
        token: Option<String>,
    },
    /// Set a new password.
    Reset {
        /// The address.
        to: String,
        /// The code to type.
        code: String,
    },
}

/// What all mails of a domain have in common.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) from: Mailbox,
    pub(super) app_url: Option<String>,
}

/// Why a mail cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritable {
    #[error("the address: {0}")]
    Address(#[from] lettre::address::AddressError),
    #[error(transparent)]
    Message(#[from] lettre::error::Error),
}

impl Letter {
    /// The code in it.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Confirm { code, .. } | Self::Reset { code, .. } => code,
        }
    }

    fn to(&self) -> &str {
        match self {
            Self::Confirm { to, .. } | Self::Reset { to, .. } => to,
        }
    }

    fn subject(&self) -> String {
        match self {
            Self::Confirm { code, .. } => format!("Your code is {code}"),
            Self::Reset { code, .. } => format!("{code} sets a new password"),
        }
    }

    /// The part of a link behind the #, as the stock web app reads it.
    fn fragment(&self) -> Option<String> {
        match self {
            Self::Confirm { token: None, .. } => None,
            Self::Confirm {
                code,
                token: Some(token),
                ..
            } => Some(format!(
                "cred?method=email&code={code}&token={}",
                escaped(token)
            )),
            Self::Reset { code, to } => Some(format!(
                "reset?scheme=code&code={code}&cred={}",
                escaped(to)
            )),
        }
    }
}

impl Style {
    pub(super) fn compose(&self, letter: &Letter) -> Result<Message, Unwritable> {
        let to = Mailbox::new(None, letter.to().parse()?);
        Ok(Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(letter.subject())
            .header(ContentType::TEXT_PLAIN)
            .body(self.text(letter))?)
    }

    fn text(&self, letter: &Letter) -> String {
        let (what, code) = match letter {
            Letter::Confirm { code, .. } => ("confirm that this address is yours", code),
            Letter::Reset { code, .. } => ("set a new password", code),
        };
        let mut text = format!("To {what}, type this code: {code}\r\n");
        let link = self.app_url.as_ref().zip(letter.fragment());
        if let Some((base, fragment)) = link {
            write!(text, "\r\nOr open this link:\r\n{base}#{fragment}\r\n")
                .expect("a string takes every text");
        }
        text + "\r\nThe code counts for 15 minutes. If you did not ask for it, do nothing.\r\n"
    }
}

/// Percent-encodes all but letters, digits and what never means anything in a link.
fn escaped(text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            all.push(char::from(byte));
        } else {
            write!(all, "%{byte:02X}").expect("a string takes every text");
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(letter: &Letter, app_url: Option<&str>) -> String {
        let style = Style {
            from: "Alpha <noreply@alpha.test>".parse().unwrap(),
            app_url: app_url.map(str::to_owned),
        };
        let message = style.compose(letter).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    #[test]
    fn a_mail_holds_the_code_and_a_link_that_the_web_app_understands() {
        let reset = Letter::Reset {
            to: "ann+x@b.test".to_owned(),
            code: "012345".to_owned(),
        };
        let mail = text(&reset, Some("https://chat.test/"));
        assert!(mail.contains("To: ann+x@b.test"), "{mail}");
        assert!(mail.contains("012345"), "{mail}");
        let joined = mail.replace("=\r\n", "").replace("=3D", "=");
        let link = "https://chat.test/#reset?scheme=code&code=012345&cred=ann%2Bx@b.test";
        assert!(joined.contains(link), "{mail}");
        assert!(!text(&reset, None).contains("http"));
    }

    #[test]
    fn a_link_to_confirm_is_made_only_where_a_token_may_go_along() {
        let confirm = |token: Option<&str>| Letter::Confirm {
            to: "ann@b.test".to_owned(),
            code: "012345".to_owned(),
            token: token.map(str::to_owned),
        };
        let with = confirm(Some("a+/=")).fragment().unwrap();
        assert_eq!(with, "cred?method=email&code=012345&token=a%2B%2F%3D");
        assert_eq!(confirm(None).fragment(), None);
    }
}
