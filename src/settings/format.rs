//! How lines read.
#![forbid(unsafe_code)]

/// The setting `format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The C module's lines.
    #[default]
    Classic,
    /// The date first and the attacker's text last, for fail2ban.
    Dated,
    /// One object a line, for machines.
    Json,
}

impl Format {
    /// All of them, with their names in the settings.
    pub const ALL: [(Format, &'static str); 3] =
        [(Format::Classic, "classic"), (Format::Dated, "dated"), (Format::Json, "json")];

    /// The name in the settings.
    pub fn name(self) -> &'static str {
        Format::ALL.iter().find(|(format, _)| *format == self).map_or("", |(_, name)| name)
    }
}
