//! The module's idea of FreeSWITCH's ABI is FreeSWITCH's, and it shows the host one symbol and no more.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::suite::{Suite, tests};
use crate::support::{data, module_path};
use mod_fail2ban::sys;
use serde_json::Value;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            every_struct_has_the_hosts_size_and_offsets,
            every_constant_is_the_hosts,
            the_module_exports_its_table_and_nothing_else,
        ],
    );
}

/// Name of a field, its offset, its size.
type Field = (&'static str, usize, usize);

/// For each struct its name, its size, and its fields.
macro_rules! layouts {
    ($($name:ident { $($field:ident)* })*) => {
        vec![$((
            stringify!($name),
            size_of::<sys::$name>(),
            vec![$((
                stringify!($field),
                std::mem::offset_of!(sys::$name, $field),
                field_size(|it: &sys::$name| &it.$field),
            ) as Field),*],
        )),*]
    };
}

fn field_size<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

fn layouts() -> Vec<(&'static str, usize, Vec<Field>)> {
    layouts! {
        switch_loadable_module_function_table_t { switch_api_version load shutdown runtime flags }
        switch_loadable_module_interface_t {
            module_name endpoint_interface timer_interface dialplan_interface codec_interface
            application_interface chat_application_interface api_interface json_api_interface rwlock refs pool
        }
        switch_api_interface_t { interface_name desc function syntax rwlock refs reflock parent next }
        switch_application_interface_t {
            interface_name application_function long_desc short_desc syntax flags rwlock refs reflock parent next
        }
        switch_stream_handle_t {
            read_function write_function raw_write_function data end data_size data_len alloc_len alloc_chunk
            param_event
        }
        switch_event_t {
            event_id priority owner subclass_name headers last_header body bind_user_data event_user_data key
            next flags
        }
        switch_event_header_t { name value idx array hash next }
        switch_log_node_t {
            data file line func level timestamp content userdata channel slevel tags sequence meta
        }
        switch_xml {
            name attr txt free_path off next sibling ordered child parent flags is_switch_xml_root_t refs
        }
        switch_directories { base_dir mod_dir conf_dir log_dir run_dir db_dir script_dir temp_dir }
    }
}

macro_rules! constants {
    ($($name:ident)*) => { BTreeMap::from([$((stringify!($name), i64::from(sys::$name))),*]) };
}

fn constants() -> BTreeMap<&'static str, i64> {
    constants! {
        SWITCH_API_VERSION
        SWITCH_STATUS_SUCCESS SWITCH_STATUS_FALSE SWITCH_STATUS_GENERR SWITCH_STATUS_MEMERR
        SWITCH_STATUS_TERM SWITCH_STATUS_NOUNLOAD
        SWITCH_EVENT_CUSTOM SWITCH_EVENT_CHANNEL_HANGUP_COMPLETE SWITCH_EVENT_MESSAGE SWITCH_EVENT_PRESENCE_PROBE SWITCH_EVENT_MESSAGE_QUERY
        SWITCH_EVENT_TRAP SWITCH_EVENT_RELOADXML SWITCH_EVENT_PHONE_FEATURE_SUBSCRIBE
        SWITCH_EVENT_CONFERENCE_DATA_QUERY SWITCH_XML_SECTION_DIRECTORY SWITCH_APPLICATION_INTERFACE
        SAF_NONE SAF_ROUTING_EXEC SAF_SUPPORT_NOMEDIA
        SWITCH_LOG_CONSOLE SWITCH_LOG_ALERT SWITCH_LOG_CRIT SWITCH_LOG_ERROR SWITCH_LOG_WARNING
        SWITCH_LOG_NOTICE SWITCH_LOG_INFO SWITCH_LOG_DEBUG
        SWITCH_CHANNEL_ID_LOG SWITCH_CHANNEL_ID_LOG_CLEAN SWITCH_CHANNEL_ID_EVENT SWITCH_CHANNEL_ID_SESSION
        SWITCH_API_INTERFACE SWITCH_STACK_BOTTOM SWITCH_TRUE SWITCH_FALSE SMODF_NONE SMODF_GLOBAL_SYMBOLS
    }
}

/// What was measured in FreeSWITCH 1.10.12, and more than is used.
fn measured() -> Value {
    serde_json::from_str(&data("freeswitch-abi-x86_64.json")).expect("the facts are JSON")
}

/// By name, from a member of the facts.
fn members<'a>(facts: &'a Value, name: &str) -> BTreeMap<&'a str, &'a Value> {
    facts[name].as_object().expect(name).iter().map(|(name, value)| (name.as_str(), value)).collect()
}

fn every_struct_has_the_hosts_size_and_offsets() {
    let facts = measured();
    let mut structs = members(&facts, "structs");
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    for (name, size, fields) in layouts() {
        let host = structs.remove(name).unwrap_or_else(|| panic!("{name} was not measured"));
        assert_eq!(Some(size), number(&host["size"]), "size of {name}");
        let mut host_fields = members(host, "fields");
        for (field, offset, size) in fields {
            let host = host_fields.remove(field).unwrap_or_else(|| panic!("{name}.{field} was not measured"));
            assert_eq!(Some(offset), number(&host["offset"]), "offset of {name}.{field}");
            assert_eq!(Some(size), number(&host["size"]), "size of {name}.{field}");
        }
        assert!(host_fields.is_empty(), "{name}: fields without a counterpart: {:?}", host_fields.keys());
    }
}

fn every_constant_is_the_hosts() {
    let facts = measured();
    let host = members(&facts, "constants").into_iter().map(|(name, value)| (name, value.as_i64()));
    let ours = constants().into_iter().map(|(name, value)| (name, Some(value)));
    assert_eq!(ours.collect::<BTreeMap<_, _>>(), host.collect::<BTreeMap<_, _>>());
}

fn the_module_exports_its_table_and_nothing_else() {
    let module = module_path();
    let nm = Command::new("nm").args(["--dynamic", "--defined-only"]).arg(&module).output().expect("nm runs");
    let listed = String::from_utf8(nm.stdout).expect("nm writes text");
    let symbols: Vec<_> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(symbols, ["mod_fail2ban_module_interface"], "{}", module.display());
}
