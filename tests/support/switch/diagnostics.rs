//! What the module says in FreeSWITCH's log, held against the manual's section DIAGNOSTICS.

use std::path::Path;
use std::sync::LazyLock;

/// The manual's messages and reasons, such as `fail2ban log PATH: N lines are lost`.
static MESSAGES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mod_fail2ban.8.md");
    let manual = std::fs::read_to_string(manual).expect("the manual");
    let (_, section) = manual.split_once("\n## DIAGNOSTICS\n").expect("the manual has DIAGNOSTICS");
    let section = section.split("\n## ").next().unwrap_or_default();
    let code = section.split('`').skip(1).step_by(2);
    code.filter(|code| code.contains(' ')).map(|code| code.replace(" …", "…")).collect()
});

/// Panics if the manual lacks an ERROR or a WARNING of the module's in this log.
pub fn assert_documented(log: &str) {
    for line in log.lines() {
        let said = ["[ERR] mod_fail2ban:0 ", "[WARNING] mod_fail2ban:0 "];
        if let Some((_, text)) = said.iter().find_map(|before| line.split_once(before)) {
            assert!(is_documented(text), "DIAGNOSTICS in docs/mod_fail2ban.8.md lacks this message: {text}");
        }
    }
}

/// Whether the text begins with a message; and where that ends in WHY, whether the reason is there as well.
fn is_documented(text: &str) -> bool {
    MESSAGES.iter().any(|message| match message.strip_suffix("WHY") {
        Some(message) => after(text, message).is_some_and(is_documented),
        None => after(text, message).is_some(),
    })
}

/// What follows a message, in which capitals and … stand for anything.
fn after<'a>(text: &'a str, message: &str) -> Option<&'a str> {
    let mut literals = message.split(|char: char| char == '…' || char.is_ascii_uppercase());
    let mut rest = text.strip_prefix(literals.next()?)?;
    for literal in literals {
        (_, rest) = rest.split_once(literal)?;
    }
    Some(rest)
}
