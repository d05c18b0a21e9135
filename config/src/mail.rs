//! The section `[mail]`.

use freehold_proto::DomainName;

use crate::{
    Clients, Delivery, Mail, PasswordSource, Protection, Smtp,
    check::{Checker, host_and_port, not_empty},
    file,
};

impl Checker<'_> {
    /// `Some(None)` when no mail is sent.
    pub(crate) fn mail(
        &mut self,
        section: file::Mail,
        domain: Option<&DomainName>,
    ) -> Option<Option<Mail>> {
        self.refuse_unknown("mail.", &section.unknown);
        let server = self.optional("mail.smtp", section.smtp, host_and_port);
        let protection = self.choice(
            "mail.tls",
            section.tls,
            &[
                ("starttls", Protection::StartTls),
                ("tls", Protection::Tls),
                ("none", Protection::None),
            ],
        );
        let user = self.optional("mail.user", section.user, not_empty);
        let file = self.optional("mail.password_file", section.password_file, not_empty);
        let variable = self.optional("mail.password_env", section.password_env, not_empty);
        let from = self.optional("mail.from", section.from, not_empty);
        let app_url = self.optional("mail.app_url", section.app_url, web_address);
        let folder = self.optional("mail.folder", section.folder, not_empty);

        let file = file?.map(|it| PasswordSource::File(self.base_dir.join(it)));
        let password = file.or(variable?.map(PasswordSource::Variable));
        let login = match (user?, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (Some(_), None) => {
                let why = "needs a password, in password_file or password_env";
                return self.mistake("mail.user", why);
            }
            (None, _) => None,
        };
        let delivery = match (folder?, server?) {
            (Some(folder), _) => Delivery::Folder(self.base_dir.join(folder)),
            (None, Some((host, port))) => Delivery::Smtp(Smtp {
                host,
                port,
                protection: protection?,
                login,
            }),
            (None, None) => return Some(None),
        };
        let usual = || domain.map(|it| format!("noreply@{it}"));
        Some(Some(Mail {
            from: from?.or_else(usual)?,
            app_url: app_url?,
            delivery,
        }))
    }

    /// A code that must be confirmed must be sent.
    pub(crate) fn require_mail(&mut self, clients: Option<&Clients>, mail: Option<&Option<Mail>>) {
        let required = clients.is_some_and(|it| !it.required_credentials.is_empty());
        if required && matches!(mail, Some(None)) {
            self.mistake::<()>(
                "clients.required_credentials",
                "needs a way to send mail: smtp in the section [mail]",
            );
        }
    }
}

fn web_address(text: &str) -> Result<String, &'static str> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !text.contains(['#', ' ']) => Ok(text.to_owned()),
        _ => Err("must be the address of a page, such as https://chat.example.org/"),
    }
}
