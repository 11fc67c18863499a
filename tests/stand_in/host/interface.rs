//! What a module registers: its name, its commands and its applications. As in the core, a pool owns all of it and goes when
//! the module has gone.

use std::ffi::{CString, c_char, c_void};

use crate::sys;

use super::failures;

/// The memory of one module.
#[derive(Default)]
pub struct Pool {
    names: Vec<CString>,
    modules: Vec<*mut sys::switch_loadable_module_interface_t>,
    commands: Vec<*mut sys::switch_api_interface_t>,
    applications: Vec<*mut sys::switch_application_interface_t>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        for module in self.modules.drain(..) {
            // SAFETY: from `Box::into_raw` below; the module that knew it has been unloaded.
            drop(unsafe { Box::from_raw(module) });
        }
        for command in self.commands.drain(..) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(command) });
        }
        for application in self.applications.drain(..) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(application) });
        }
    }
}

/// # Safety
/// `pool` is the one that the loader gave to `load`, and `name` a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_loadable_module_create_module_interface(
    pool: *mut sys::switch_memory_pool_t,
    name: *const c_char,
) -> *mut sys::switch_loadable_module_interface_t {
    if failures::is_due("switch_loadable_module_create_module_interface") {
        return std::ptr::null_mut();
    }
    // SAFETY: as this function asks of its caller.
    let Some(name) = (unsafe { super::borrowed(name) }) else { super::fault("a module without a name") };
    // SAFETY: all zero bytes are an interface with nothing registered.
    let mut module: Box<sys::switch_loadable_module_interface_t> = Box::new(unsafe { std::mem::zeroed() });
    // SAFETY: as this function asks of its caller, and the loader lends the pool to nobody else meanwhile.
    let memory = unsafe { &mut *pool.cast::<Pool>() };
    let name = name.to_owned();
    module.module_name = name.as_ptr();
    module.pool = pool;
    memory.names.push(name);
    let module = Box::into_raw(module);
    memory.modules.push(module);
    module
}

/// # Safety
/// `module` came from [`switch_loadable_module_create_module_interface`] during the same `load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_loadable_module_create_interface(
    module: *mut sys::switch_loadable_module_interface_t,
    kind: sys::switch_module_interface_name_t,
) -> *mut c_void {
    if failures::is_due("switch_loadable_module_create_interface") {
        return std::ptr::null_mut();
    }
    // SAFETY: as this function asks of its caller; the loader looks at it only when `load` has returned.
    let interface = unsafe { &mut *module };
    // SAFETY: the pool that the interface was made from.
    let pool = unsafe { &mut *interface.pool.cast::<Pool>() };
    match kind {
        sys::SWITCH_API_INTERFACE => {}
        sys::SWITCH_APPLICATION_INTERFACE => {
            // SAFETY: all zero bytes are an application without anything.
            let mut application: Box<sys::switch_application_interface_t> =
                Box::new(unsafe { std::mem::zeroed() });
            application.parent = module;
            application.next = interface.application_interface;
            let application = Box::into_raw(application);
            interface.application_interface = application;
            pool.applications.push(application);
            return application.cast();
        }
        _ => super::fault("an interface of a kind that the stand-in does not have"),
    }
    // SAFETY: all zero bytes are a command without anything.
    let mut command: Box<sys::switch_api_interface_t> = Box::new(unsafe { std::mem::zeroed() });
    command.parent = module;
    command.next = interface.api_interface;
    let command = Box::into_raw(command);
    interface.api_interface = command;
    pool.commands.push(command);
    command.cast()
}
