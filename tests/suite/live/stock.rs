//! FreeSWITCH's stock configuration, as it is installed, with what the tests have to change: addresses, the
//! password, the modules that are loaded. It has users 1000 to 1019.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fail2ban::output_of;
use crate::support::suite::Why;

/// The password of its users.
pub const PASSWORD: &str = "Correct-horse-9";
/// Where the profile listens that asks nobody for credentials.
pub const EXTERNAL_SIP: u16 = 5080;

/// Where it is installed, under `FREESWITCH_PREFIX`.
fn installed() -> Option<PathBuf> {
    let prefix = PathBuf::from(std::env::var_os("FREESWITCH_PREFIX")?);
    let mut places = vec![prefix.join("etc/freeswitch"), prefix.join("conf")];
    if prefix == Path::new("/usr") {
        places.push("/etc/freeswitch".into());
    }
    places.push(prefix.join("share/freeswitch/conf/vanilla"));
    let files =
        ["freeswitch.xml", "vars.xml", "sip_profiles/internal-ipv6.xml", "directory/default/1001.xml"];
    places.into_iter().find(|place| files.iter().all(|file| place.join(file).exists()))
}

/// Something that tests may need: the configuration.
pub fn is_installed() -> Result<(), Why> {
    match installed() {
        Some(_) => Ok(()),
        None => Err(Why::Missing("FreeSWITCH's stock configuration is not below FREESWITCH_PREFIX".into())),
    }
}

/// Something that tests may need: FreeSWITCH's mod_xml_curl.
pub fn has_xml_curl() -> Result<(), Why> {
    has_module("mod_xml_curl")
}

/// Something that tests may need: FreeSWITCH's mod_lua.
pub fn has_lua() -> Result<(), Why> {
    has_module("mod_lua")
}

/// Something that tests may need: FreeSWITCH's mod_voicemail.
pub fn has_voicemail() -> Result<(), Why> {
    has_module("mod_voicemail")
}

fn has_module(name: &str) -> Result<(), Why> {
    let prefix = PathBuf::from(std::env::var_os("FREESWITCH_PREFIX").unwrap_or_default());
    let places = ["lib/freeswitch/mod", "mod"].map(|place| prefix.join(place).join(format!("{name}.so")));
    if places.iter().any(|place| place.exists()) {
        Ok(())
    } else {
        Err(Why::Missing(format!("FREESWITCH_PREFIX has no {name}")))
    }
}

/// What the configuration is to have.
pub struct Stock<'a> {
    /// Before FreeSWITCH's database is up.
    pub preloaded: &'a [&'a str],
    /// After it, in this order.
    pub modules: &'a [&'a str],
    /// FreeSWITCH's addresses, of IPv4 and IPv6.
    pub ips: [IpAddr; 2],
    /// Where a trunk is with which each of the external profiles registers.
    pub trunks: [IpAddr; 2],
    /// The text of `fail2ban.conf.xml`.
    pub fail2ban_conf: &'a str,
}

impl Stock<'_> {
    /// Writes it to a folder that exists, and gives the text of `freeswitch.xml`.
    pub fn write(&self, folder: &Path) -> String {
        let from = installed().expect("the suite has seen that it is there");
        output_of(Command::new("cp").arg("-rT").args([&from, &folder.to_path_buf()]))
            .expect("it can be copied");
        let conf = folder.join("autoload_configs");
        for (name, modules) in [("pre_load_modules.conf", self.preloaded), ("modules.conf", self.modules)] {
            let modules: String =
                modules.iter().map(|module| format!("<load module=\"{module}\"/>")).collect();
            let text = format!("<configuration name=\"{name}\"><modules>{modules}</modules></configuration>");
            write(&conf.join(format!("{name}.xml")), &text);
        }
        write(&conf.join("fail2ban.conf.xml"), self.fail2ban_conf);
        write(
            &conf.join("event_socket.conf.xml"),
            r#"<configuration name="event_socket.conf"><settings>
                 <param name="listen-ip" value="127.0.0.1"/><param name="listen-port" value="8021"/>
                 <param name="password" value="ClueCon"/>
               </settings></configuration>"#,
        );
        self.write_variables(folder);
        for (profile, trunk) in ["external", "external-ipv6"].into_iter().zip(self.trunks) {
            let trunk = if trunk.is_ipv6() { format!("[{trunk}]") } else { trunk.to_string() };
            write(
                &folder.join(format!("sip_profiles/{profile}/example.xml")),
                &format!(
                    // FreeSWITCH drops each line that has "include" in it.
                    r#"<include>
                         <gateway name="trunk-{profile}">
                         <param name="username" value="trunk"/><param name="password" value="x"/>
                         <param name="proxy" value="{trunk}"/><param name="realm" value="{trunk}"/>
                         <param name="retry-seconds" value="5"/>
                         </gateway>
                       </include>"#
                ),
            );
        }
        fs::read_to_string(folder.join("freeswitch.xml")).expect("the configuration has one")
    }

    /// Addresses, and no servers out in the world are asked for them.
    fn write_variables(&self, folder: &Path) {
        let path = folder.join("vars.xml");
        let set = |name: &str, value: &str| format!("<X-PRE-PROCESS cmd=\"set\" data=\"{name}={value}\"/>\n");
        let [v4, v6] = self.ips.map(|ip| ip.to_string());
        let mut text = String::new();
        for line in fs::read_to_string(&path).expect("the configuration has variables").lines() {
            if line.contains("data=\"default_password=") {
                text += &set("default_password", PASSWORD);
            } else if line.contains("cmd=\"stun-set\"") {
                for name in ["external_rtp_ip", "external_sip_ip"] {
                    if line.contains(name) {
                        text += &set(name, &v4);
                    }
                }
            } else {
                text += line;
                text.push('\n');
            }
            if line.contains("<include>") {
                text += &(set("local_ip_v4", &v4) + &set("local_ip_v6", &v6));
            }
        }
        assert!(text.contains(PASSWORD), "vars.xml sets no default_password");
        write(&path, &text);
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
