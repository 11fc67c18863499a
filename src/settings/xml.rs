//! The shape of FreeSWITCH's configuration files.
#![forbid(unsafe_code)]

use serde::Deserialize;

/// The name under which FreeSWITCH keeps the module's configuration.
pub const FILE: &str = "fail2ban.conf";

/// `<param name="…" value="…"/>`, as FreeSWITCH's files have them.
#[derive(Deserialize)]
pub struct Param {
    /// Its name.
    #[serde(rename = "@name", default)]
    pub name: String,
    /// Its value.
    #[serde(rename = "@value", default)]
    pub value: String,
}

#[derive(Deserialize)]
struct Configuration {
    bindings: Option<Bindings>,
}

#[derive(Deserialize)]
struct Bindings {
    #[serde(default)]
    config: Vec<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    param: Vec<Param>,
}

/// The parameters in any `<config>` under `<bindings>`, as the C module reads them.
pub fn params(xml: &str) -> Result<impl Iterator<Item = Param>, String> {
    let configuration: Configuration =
        quick_xml::de::from_str(xml).map_err(|error| format!("{FILE}: the XML can't be read: {error}"))?;
    let bindings = configuration.bindings.ok_or_else(|| {
        format!(
            "{FILE}: <bindings> is missing; expected <configuration><bindings><config><param name=\"logfile\" value=\"…\"/>…"
        )
    })?;
    Ok(bindings.config.into_iter().flat_map(|config| config.param))
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    params: Vec<UserParams>,
}

#[derive(Deserialize)]
struct UserParams {
    #[serde(default)]
    param: Vec<Param>,
}

/// Whether a `<user>` of the directory needs a password, as sofia reads it.
pub fn has_password(user: &str) -> bool {
    let user: Option<User> = quick_xml::de::from_str(user).ok();
    let params = user.into_iter().flat_map(|user| user.params).flat_map(|params| params.param);
    let mut passwords = params.filter(|param| {
        param.name.eq_ignore_ascii_case("password") || param.name.eq_ignore_ascii_case("a1-hash")
    });
    passwords.any(|param| !param.value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_user_with_a_password_proves_anything() {
        let user = |params: &str| has_password(&format!("<user id=\"1001\">{params}</user>"));
        assert!(user("<params><param name=\"password\" value=\"x\"/></params>"));
        assert!(user(
            "<variables/><params><param name=\"vm\" value=\"1\"/><param name=\"A1-Hash\" value=\"x\"/></params>"
        ));
        assert!(!user("") && !user("<params/>") && !has_password("not XML"));
        assert!(!user(
            "<params><param name=\"password\" value=\"\"/><param name=\"vm-password\" value=\"1\"/></params>"
        ));
        assert!(!user("<params><param name=\"allow-empty-password\" value=\"true\"/></params>"));
        assert!(!user("<variables><param name=\"password\" value=\"x\"/></variables>"));
    }
}
