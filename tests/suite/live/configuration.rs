//! The configuration of the FreeSWITCH under attack: users 1000 and 1001 of `live.test`, whose password is
//! `secret`; 9196 takes every call.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::support::freeswitch::core_configuration;

/// Where the profile listens that everyone may talk to.
pub const SIP: u16 = 5060;
/// Where the profile listens that an ACL guards.
pub const GUARDED_SIP: u16 = 5062;
/// Where Verto listens, without TLS.
pub const VERTO: u16 = 8081;
/// Where the event socket listens, for this machine alone.
pub const EVENT_SOCKET: u16 = 8021;

/// The whole of it, but for `autoload_configs/*.xml`, which the tests write.
pub fn freeswitch(modules: &[&str], addresses: &[IpAddr]) -> String {
    let core = core_configuration(
        modules,
        "0.0.0.0",
        EVENT_SOCKET,
        r#"<param name="apply-inbound-acl" value="console"/>"#,
    );
    let (mut sofia, mut verto) = (String::new(), String::new());
    for (number, ip) in addresses.iter().enumerate() {
        let open = r#"<param name="auth-calls" value="true"/>"#;
        let guarded = r#"<param name="auth-calls" value="false"/>
            <param name="apply-register-acl" value="nobody"/><param name="apply-inbound-acl" value="nobody"/>"#;
        sofia += &sofia_profile(&format!("open{number}"), *ip, SIP, open);
        sofia += &sofia_profile(&format!("guarded{number}"), *ip, GUARDED_SIP, guarded);
        let bind = SocketAddr::new(*ip, VERTO);
        let _ = write!(
            verto,
            r#"<profile name="verto{number}">
                 <param name="bind-local" value="{bind}"/><param name="force-register-domain" value="live.test"/>
                 <param name="userauth" value="true"/><param name="blind-reg" value="false"/>
                 <param name="rtp-ip" value="{ip}"/>
               </profile>"#
        );
    }
    format!(
        r#"<?xml version="1.0"?>
<document type="freeswitch/xml">
  <section name="configuration">
    {core}
    <configuration name="acl.conf">
      <network-lists>
        <list name="console" default="deny"><node type="allow" cidr="127.0.0.0/8"/></list>
        <list name="nobody" default="deny"/>
        <list name="bystanders" default="deny">
          <node type="allow" cidr="10.99.2.0/24"/>
          <node type="allow" cidr="fd00:99:0:2::/64"/>
        </list>
      </network-lists>
    </configuration>
    <configuration name="sofia.conf">
      <global_settings><param name="abort-on-empty-external-ip" value="false"/></global_settings>
      <profiles>{sofia}</profiles>
    </configuration>
    <configuration name="verto.conf"><profiles>{verto}</profiles></configuration>
    <X-PRE-PROCESS cmd="include" data="autoload_configs/*.xml"/>
  </section>
  <section name="dialplan">
    <context name="default">
      <extension name="anyone">
        <condition field="destination_number" expression="^9196$">
          <action application="answer"/>
          <action application="park"/>
        </condition>
      </extension>
    </context>
  </section>
  <section name="directory">
    <domain name="live.test">
      <groups><group name="default"><users>
        <user id="1000"><params><param name="password" value="secret"/></params></user>
        <user id="1001"><params><param name="password" value="secret"/></params></user>
      </users></group></groups>
    </domain>
  </section>
</document>
"#
    )
}

/// A profile of sofia's; `access` are more of its `<param …/>`s.
pub fn sofia_profile(name: &str, ip: IpAddr, port: u16, access: &str) -> String {
    format!(
        r#"<profile name="{name}">
             <domains><domain name="all" alias="false" parse="false"/></domains>
             <settings>
               <param name="sip-ip" value="{ip}"/><param name="rtp-ip" value="{ip}"/>
               <param name="sip-port" value="{port}"/>
               <param name="context" value="default"/><param name="dialplan" value="XML"/>
               <!-- As in the stock profiles. Without it FreeSWITCH 1.11.2 waits five seconds for the first sound of a
                    caller that sends none, and answers its BYE only then. -->
               <param name="rtp-timer-name" value="soft"/>
               <param name="codec-prefs" value="PCMU"/><param name="inbound-codec-negotiation" value="generous"/>
               <param name="manage-presence" value="false"/>
               <param name="force-register-domain" value="live.test"/>
               <param name="force-register-db-domain" value="live.test"/>
               <param name="challenge-realm" value="auto_from"/>
               <param name="log-auth-failures" value="true"/>
               {access}
             </settings>
           </profile>"#
    )
}
