//! Turns `freeswitch-headers/switch.h` into Rust declarations and sets the linker up for the stand-in host.

use std::path::PathBuf;

const TYPES: &[&str] = &[
    "switch_loadable_module_function_table_t",
    "switch_loadable_module_interface_t",
    "switch_api_interface_t",
    "switch_application_interface_t",
    "switch_application_flag_enum_t",
    "switch_stream_handle_t",
    "switch_event_t",
    "switch_event_header_t",
    "switch_event_node_t",
    "switch_event_types_t",
    "switch_log_node_t",
    "switch_log_level_t",
    "switch_text_channel_t",
    "switch_module_flag_enum_t",
    "switch_module_interface_name_t",
    "switch_stack_t",
    "switch_status_t",
    "switch_bool_t",
    "switch_xml",
    "switch_xml_section_enum_t",
    "switch_xml_search_function_t",
    "switch_directories",
];

const FUNCTIONS: &[&str] = &[
    "switch_loadable_module_create_module_interface",
    "switch_loadable_module_create_interface",
    "switch_console_set_complete",
    "switch_event_bind_removable",
    "switch_event_unbind",
    "switch_log_printf",
    "switch_log_bind_logger",
    "switch_log_unbind_logger",
    "switch_xml_open_cfg",
    "switch_xml_toxml_ex",
    "switch_xml_free",
    "switch_xml_parse_str_dynamic",
    "switch_xml_child",
    "switch_xml_set_attr_d",
    "switch_xml_reload",
    "switch_core_ready",
    "switch_xml_locate_user_merged",
    "switch_xml_bind_search_function_ret",
    "switch_xml_unbind_search_function",
    "switch_core_session_get_channel",
    "switch_channel_get_variable_dup",
    "switch_channel_set_variable_var_check",
    "_switch_core_db_handle",
    "switch_cache_db_execute_sql_callback",
    "switch_cache_db_release_db_handle",
    "switch_check_network_list_ip_token",
];

const VARIABLES: &[&str] = &["SWITCH_API_VERSION", "SWITCH_GLOBAL_dirs"];

fn main() {
    let header = "freeswitch-headers/switch.h";
    println!("cargo:rerun-if-changed={header}");
    // A host exports its functions to the modules that it loads.
    println!("cargo:rustc-link-arg-examples=-rdynamic");
    println!("cargo:rustc-link-arg-benches=-rdynamic");

    let mut builder = bindgen::Builder::default()
        .header(header)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .layout_tests(false);
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    builder
        .generate()
        .expect("bindgen could not read freeswitch-headers/switch.h (is libclang installed? `make deps`)")
        .write_to_file(out)
        .expect("bindings.rs could not be written to OUT_DIR");
}
