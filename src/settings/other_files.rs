//! What other files of FreeSWITCH's say: `acl.conf`, `sofia.conf`, `switch.conf`.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};

use serde::Deserialize;

use super::trusted::Trusted;
use super::xml::{FILE, Param};
use crate::event::host_line::RejectedBy;

/// A warning for each trusted list that FreeSWITCH does not have, by the text of its `acl.conf`.
pub fn unknown_acls(trusted: &Trusted, acl_conf: Option<&str>) -> Vec<String> {
    let lists = acl_conf.and_then(|xml| quick_xml::de::from_str::<AclConf>(xml).ok());
    let lists = lists.and_then(|conf| conf.network_lists).map_or_else(Vec::new, |lists| lists.list);
    let names = trusted.lists.iter().map(|name| name.to_string_lossy());
    names
            .filter(|name| !name.ends_with(".auto") && !lists.iter().any(|list| list.name == *name))
            .map(|name| format!("{FILE}: trusted-acl=\"{name}\" is not in acl.conf and trusts nobody; expected the name of a list there, one of FreeSWITCH's .auto lists, or a CIDR"))
            .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct AclConf {
    network_lists: Option<AclLists>,
}

#[derive(Deserialize)]
struct AclLists {
    #[serde(default)]
    list: Vec<AclList>,
}

#[derive(Deserialize)]
struct AclList {
    #[serde(rename = "@name", default)]
    name: String,
}

/// FreeSWITCH 1.11.2 may be told which modules may offer commands and applications (`switch.conf`): a warning
/// if that leaves this one out.
pub fn left_out_by_allowlist(switch_conf: &str) -> Option<String> {
    let conf: SwitchConf = quick_xml::de::from_str(switch_conf).ok()?;
    let list = conf.interface_allowlist.filter(|list| !list.allow.is_empty())?;
    let names = list.allow.iter().map(|allow| allow.name.as_str());
    let offers = |name: &str, kind: &str| {
        let full = format!("mod_fail2ban.{name}");
        names.clone().any(|allowed| {
            allowed == "mod_fail2ban" || allowed == full || allowed == format!("{full}.{kind}")
        })
    };
    if offers("fail2ban", "api") && offers("fail2ban_report", "app") {
        return None;
    }
    Some(
        "switch.conf: <interface-allowlist> leaves out the command fail2ban, the application fail2ban_report, or \
         both; the log is written all the same; to have them, add <allow name=\"mod_fail2ban\"/> there"
            .into(),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SwitchConf {
    interface_allowlist: Option<Allowlist>,
}

#[derive(Deserialize)]
struct Allowlist {
    #[serde(default)]
    allow: Vec<Allow>,
}

#[derive(Deserialize)]
struct Allow {
    #[serde(rename = "@name", default)]
    name: String,
}

/// What sofia's profiles say about their ACLs, where that decides what a line of FreeSWITCH's log is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SofiaAcls {
    /// Some profile trusts proxies (`apply-proxy-acl`), or may: then the address in a line may be the text of a header.
    may_have_proxies: bool,
    /// Lists after whose "Rejected" sofia continues, in another context (`apply-inbound-acl` as `list:pass:fail`).
    fallback_lists: Vec<String>,
    /// The lists of `apply-inbound-acl`, each with its profile.
    inbound_lists: Vec<(String, CString)>,
}

impl Default for SofiaAcls {
    /// Nothing is certain.
    fn default() -> SofiaAcls {
        SofiaAcls { may_have_proxies: true, fallback_lists: Vec::new(), inbound_lists: Vec::new() }
    }
}

impl SofiaAcls {
    /// Reads the text of `sofia.conf`. Without a profile in it, nothing is certain: a module that is not loaded yet may
    /// serve it.
    pub fn parse(sofia_conf: &str) -> SofiaAcls {
        let conf: SofiaConf = quick_xml::de::from_str(sofia_conf).unwrap_or_default();
        let profiles: Vec<Profile> =
            conf.profiles.into_iter().flat_map(|profiles| profiles.profile).collect();
        if profiles.is_empty() {
            return SofiaAcls::default();
        }
        let mut acls =
            SofiaAcls { may_have_proxies: false, fallback_lists: Vec::new(), inbound_lists: Vec::new() };
        let params = profiles.into_iter().flat_map(|Profile { name, settings }| {
            let params = settings.into_iter().flat_map(|settings| settings.param);
            params.map(move |param| (name.clone(), param))
        });
        for (profile, Param { name, value }) in params {
            // As sofia reads them: names in any case, and "none" is no list.
            if name.eq_ignore_ascii_case("apply-proxy-acl") {
                acls.may_have_proxies |= !value.is_empty() && !value.eq_ignore_ascii_case("none");
            } else if name.eq_ignore_ascii_case("apply-inbound-acl") {
                let mut parts = value.splitn(3, ':');
                let list = parts.next().unwrap_or_default();
                if let (Some(_pass), Some(1..)) = (parts.next(), parts.next().map(str::len)) {
                    acls.fallback_lists.push(list.to_owned());
                }
                acls.inbound_lists.extend(CString::new(list).ok().map(|list| (profile, list)));
            }
        }
        acls
    }

    /// The lists that let calls in at a profile (`apply-inbound-acl`).
    pub fn inbound_lists<'a>(&'a self, profile: &'a [u8]) -> impl Iterator<Item = &'a CStr> {
        let lists = self.inbound_lists.iter().filter(move |(name, _)| name.as_bytes() == profile);
        lists.map(|(_, list)| list.as_c_str())
    }

    /// Whether a rejection by this list is one, and of an address that comes from the network.
    pub fn is_certain(&self, by: RejectedBy, list: &[u8]) -> bool {
        match by {
            RejectedBy::Register | RejectedBy::EventSocket => true,
            RejectedBy::User => !self.may_have_proxies,
            RejectedBy::Inbound => {
                !self.may_have_proxies && !self.fallback_lists.iter().any(|name| name.as_bytes() == list)
            }
        }
    }
}

#[derive(Default, Deserialize)]
struct SofiaConf {
    #[serde(default)]
    profiles: Vec<Profiles>,
}

#[derive(Deserialize)]
struct Profiles {
    #[serde(default)]
    profile: Vec<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    #[serde(rename = "@name", default)]
    name: String,
    #[serde(default)]
    settings: Vec<ProfileSettings>,
}

#[derive(Deserialize)]
struct ProfileSettings {
    #[serde(default)]
    param: Vec<Param>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_that_does_not_exist_is_named() {
        let names = ["lan", "lam", "loopback.auto"].map(|name| std::ffi::CString::new(name).unwrap());
        let trusted = Trusted { networks: Vec::new(), lists: names.to_vec() };
        let acl_conf = r#"<configuration name="acl.conf"><network-lists><list name="lan" default="deny">
            <node type="allow" cidr="10.0.0.0/8"/></list><list name="domains" default="deny"/></network-lists></configuration>"#;
        let warnings = unknown_acls(&trusted, Some(acl_conf));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("\"lam\""));
        assert_eq!(unknown_acls(&trusted, None).len(), 2);
    }

    #[test]
    fn a_rejection_that_may_be_none_or_of_an_address_from_a_header_is_not_certain() {
        let conf = |params: &str| {
            SofiaAcls::parse(&format!(
                "<configuration name=\"sofia.conf\"><profiles><profile name=\"a\"><settings>{params}</settings></profile>\
                 <profile name=\"b\"><gateways/></profile></profiles></configuration>"
            ))
        };
        let inbound = |acls: &SofiaAcls| acls.is_certain(RejectedBy::Inbound, b"lan");
        let always = |acls: &SofiaAcls| {
            acls.is_certain(RejectedBy::Register, b"lan") && acls.is_certain(RejectedBy::EventSocket, b"lan")
        };
        let user = |acls: &SofiaAcls| acls.is_certain(RejectedBy::User, b"lan");
        let plain = conf(r#"<param name="apply-inbound-acl" value="lan"/>"#);
        assert!(inbound(&plain) && user(&plain) && always(&plain));
        let falls_back = conf(r#"<param name="apply-inbound-acl" value="lan:inside:outside"/>"#);
        assert!(!inbound(&falls_back) && user(&falls_back) && always(&falls_back));
        assert!(falls_back.is_certain(RejectedBy::Inbound, b"other"));
        let proxies = conf(r#"<param name="apply-proxy-acl" value="proxies"/>"#);
        assert!(!inbound(&proxies) && !user(&proxies) && always(&proxies));
        for none in ["none", "None", ""] {
            assert!(inbound(&conf(&format!("<param name=\"apply-proxy-acl\" value=\"{none}\"/>"))));
        }
        assert!(!inbound(&conf(r#"<param name="Apply-Proxy-ACL" value="proxies"/>"#)));
        assert!(inbound(&conf(r#"<param name="apply-inbound-acl" value="lan:inside:"/>"#)));
        assert!(!inbound(&conf(r#"<param name="Apply-Inbound-ACL" value="lan:in:out"/>"#)));
    }

    #[test]
    fn the_lists_that_let_calls_in_are_those_of_the_calls_profile() {
        let acls = SofiaAcls::parse(
            r#"<configuration name="sofia.conf"><profiles><profile name="a"><settings>
                 <param name="Apply-Inbound-ACL" value="lan"/><param name="apply-inbound-acl" value="trunks:in:out"/>
               </settings></profile><profile name="b"><settings/></profile></profiles></configuration>"#,
        );
        assert_eq!(acls.inbound_lists(b"a").collect::<Vec<_>>(), [c"lan", c"trunks"]);
        assert_eq!(acls.inbound_lists(b"b").next(), None);
    }

    #[test]
    fn a_sofia_conf_that_is_not_there_yet_makes_nothing_certain() {
        for conf in ["", "not XML", "<configuration/>", "<configuration><profiles/></configuration>"] {
            let acls = SofiaAcls::parse(conf);
            assert!(
                !acls.is_certain(RejectedBy::Inbound, b"lan") && !acls.is_certain(RejectedBy::User, b"lan")
            );
            assert!(acls.is_certain(RejectedBy::Register, b"lan"));
        }
    }
}
