//! Loads, calls and unloads the module as FreeSWITCH's loader does.

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use crate::sys;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use parking_lot::{Mutex, RwLock};

use crate::host::call::Call;
use crate::host::interface::Pool;
use crate::host::log;

const TABLE: &CStr = c"mod_fail2ban_module_interface";

type Table = sys::switch_loadable_module_function_table_t;

/// The place for one module. Requests may come from several threads at once, and exclude each other as the
/// core's do.
pub struct Loader {
    path: PathBuf,
    /// Held through a load.
    module: Mutex<Option<Arc<Module>>>,
}

struct Module {
    // In the order in which they have to go: the code before the memory that it may still point to.
    library: Library,
    pool: Box<Pool>,
    interface: *mut sys::switch_loadable_module_interface_t,
    shutdown: sys::switch_module_shutdown_t,
    may_be_unloaded: bool,
    /// Held for reading by whoever runs a command or an application of the module's.
    in_use: RwLock<()>,
}

// SAFETY: what the pointers point to is in the pool, and nobody changes it once the module is loaded.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Loader {
    /// A loader for the module in this file.
    pub fn new(path: PathBuf) -> Loader {
        Loader { path, module: Mutex::new(None) }
    }

    /// `load mod_fail2ban`, from another file than usual if one is told. When it fails, the module's code is
    /// gone at once.
    pub fn load(&self, path: Option<&Path>) -> Result<(), String> {
        let path = path.unwrap_or(&self.path);
        let mut module = self.module.lock();
        if module.is_some() {
            return Err("Module already loaded".into());
        }
        let loaded = open(path);
        match &loaded {
            Ok(_) => note(sys::SWITCH_LOG_CONSOLE, "Successfully Loaded [mod_fail2ban]"),
            Err(error) => {
                note(sys::SWITCH_LOG_CRIT, &format!("Error Loading module {}\n**{error}**", path.display()))
            }
        }
        *module = Some(Arc::new(loaded?));
        Ok(())
    }

    /// `unload mod_fail2ban`. While one of its commands or applications runs it is refused. A module that
    /// answers NOUNLOAD has its code left in place.
    pub fn unload(&self) -> Result<(), String> {
        let mut place = self.module.lock();
        let module = place.take_if(|module| module.may_be_unloaded).ok_or(match *place {
            Some(_) => "Module is not unloadable",
            None => "No such module!",
        })?;
        // As in the core, others may load and unload from here on.
        drop(place);
        if module.in_use.try_write().is_none() {
            *self.module.lock() = Some(module);
            return Err("Module in use.".into());
        }
        // Whoever was about to run a command has found that it is gone.
        let mut shared = module;
        let module = loop {
            match Arc::try_unwrap(shared) {
                Ok(module) => break module,
                Err(still_shared) => shared = still_shared,
            }
            std::thread::yield_now();
        };
        note(sys::SWITCH_LOG_CONSOLE, "Stopping: mod_fail2ban");
        // SAFETY: called once, after a `load` that succeeded.
        let status = module.shutdown.map(|shutdown| unsafe { shutdown() });
        if status == Some(sys::SWITCH_STATUS_NOUNLOAD) {
            std::mem::forget(module.library);
            std::mem::forget(module.pool);
            note(sys::SWITCH_LOG_CONSOLE, "mod_fail2ban stays in memory.");
        } else {
            drop(module.library);
            note(sys::SWITCH_LOG_CONSOLE, "mod_fail2ban unloaded.");
        }
        Ok(())
    }

    /// Calls the module's load or shutdown without regard to what else is under way, which no loader should do. A
    /// load that succeeds all the same stays, and an answer of NOUNLOAD is not heeded.
    pub fn call_out_of_turn(&self, wants_load: bool) -> Result<(), String> {
        if wants_load {
            return open(&self.path).map(std::mem::forget);
        }
        // SAFETY: as in `open`.
        let library = unsafe { Library::open(Some(&self.path), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| error.to_string())?;
        let shutdown = table(&library)?.shutdown.ok_or("no shutdown")?;
        // SAFETY: the library is held through the call.
        match unsafe { shutdown() } {
            sys::SWITCH_STATUS_SUCCESS => Ok(()),
            status => Err(format!("shutdown answers {status}")),
        }
    }

    /// Runs a command of the module's and gives what it wrote; `None` if it has no such command.
    pub fn api(&self, line: &CStr) -> Option<Vec<u8>> {
        let line = line.to_bytes().trim_ascii();
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (name, arguments) = (&line[..end], line[end..].trim_ascii());
        let module = self.module.lock().clone()?;
        let _in_use = module.in_use.try_read()?;
        let function = module.command(name)?;
        // As in the core, a command without arguments gets NULL.
        let arguments = (!arguments.is_empty()).then(|| CString::new(arguments).expect("part of a C string"));
        let arguments = arguments.as_deref().map_or(ptr::null(), CStr::as_ptr);
        let mut written = Vec::new();
        // SAFETY: all zero bytes are a stream without anything.
        let mut stream: sys::switch_stream_handle_t = unsafe { std::mem::zeroed() };
        stream.data = (&raw mut written).cast();
        let write: unsafe extern "C" fn(_, _, _) -> _ = write_to_stream;
        // SAFETY: the module passes "%s" and one text (which is checked), and these reach a function of fixed
        // arguments in the same registers.
        stream.write_function = Some(unsafe { std::mem::transmute::<Write, VariadicWrite>(write) });
        // SAFETY: a command of a loaded module, with a line and a stream that outlive the call.
        unsafe { function(arguments, ptr::null_mut(), &raw mut stream) };
        Some(written)
    }

    /// Runs an application of the module's on a call; `None` if it has no such application.
    pub fn execute(&self, name: &CStr, data: &CStr, call: &mut Call) -> Option<()> {
        let module = self.module.lock().clone()?;
        let _in_use = module.in_use.try_read()?;
        let function = module.application(name)?;
        // As in the core, an application without data gets an empty text.
        // SAFETY: an application of a loaded module, with a call and a text that outlive it.
        unsafe { function(call.session(), data.as_ptr()) };
        Some(())
    }
}

fn open(path: &Path) -> Result<Module, String> {
    // SAFETY: loading runs the module's initialisers, and a module is trusted as much as the host itself.
    let library =
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| error.to_string())?;
    let table = table(&library)?;
    if table.switch_api_version != sys::SWITCH_API_VERSION.cast_signed() {
        return Err("Trying to load an out of date module, please rebuild the module.".into());
    }
    let load = table.load.ok_or("Cannot locate symbol 'switch_module_load'")?;
    let mut pool = Box::<Pool>::default();
    let mut interface = ptr::null_mut();
    // SAFETY: the loader's contract: a place for the interface, and a pool that outlives the module.
    let status = unsafe { load(&raw mut interface, (&raw mut *pool).cast()) };
    if !matches!(status, sys::SWITCH_STATUS_SUCCESS | sys::SWITCH_STATUS_NOUNLOAD) {
        drop(library);
        return Err("Module load routine returned an error".into());
    }
    if interface.is_null() {
        return Err("Module failed to initialize its module_interface. Is this a valid module?".into());
    }
    let may_be_unloaded = status == sys::SWITCH_STATUS_SUCCESS;
    Ok(Module {
        library,
        pool,
        interface,
        shutdown: table.shutdown,
        may_be_unloaded,
        in_use: RwLock::new(()),
    })
}

fn table(library: &Library) -> Result<Table, String> {
    // SAFETY: a module has a table under this name; it stays in place as long as the library.
    let table = unsafe { library.get::<*const Table>(TABLE.to_bytes_with_nul()) };
    // SAFETY: as above.
    Ok(unsafe { table.map_err(|error| error.to_string())?.read() })
}

impl Module {
    /// The function of the command with this name.
    #[allow(clippy::type_complexity)]
    fn command(
        &self,
        name: &[u8],
    ) -> Option<
        unsafe extern "C" fn(
            *const c_char,
            *mut sys::switch_core_session_t,
            *mut sys::switch_stream_handle_t,
        ) -> sys::switch_status_t,
    > {
        // SAFETY: the interface lives in the module's pool.
        let mut command = unsafe { (*self.interface).api_interface };
        while !command.is_null() {
            // SAFETY: as above.
            let this = unsafe { command.read() };
            // SAFETY: a command that is registered has a name, which lives as long as the module.
            if unsafe { CStr::from_ptr(this.interface_name) }.to_bytes() == name {
                return this.function;
            }
            command = this.next;
        }
        None
    }
}

impl Module {
    /// The function of the application with this name.
    fn application(
        &self,
        name: &CStr,
    ) -> Option<unsafe extern "C" fn(*mut sys::switch_core_session_t, *const c_char)> {
        // SAFETY: the interface lives in the module's pool.
        let mut application = unsafe { (*self.interface).application_interface };
        while !application.is_null() {
            // SAFETY: as above.
            let this = unsafe { application.read() };
            // SAFETY: an application that is registered has a name, which lives as long as the module.
            if unsafe { CStr::from_ptr(this.interface_name) } == name {
                return this.application_function;
            }
            application = this.next;
        }
        None
    }
}

type Write = unsafe extern "C" fn(
    *mut sys::switch_stream_handle_t,
    *const c_char,
    *const c_char,
) -> sys::switch_status_t;
type VariadicWrite =
    unsafe extern "C" fn(*mut sys::switch_stream_handle_t, *const c_char, ...) -> sys::switch_status_t;

/// # Safety
/// `handle` is the stream of [`Loader::api`], and the texts are C strings.
unsafe extern "C" fn write_to_stream(
    handle: *mut sys::switch_stream_handle_t,
    fmt: *const c_char,
    text: *const c_char,
) -> sys::switch_status_t {
    // SAFETY: as this function asks of its caller.
    assert_eq!(unsafe { CStr::from_ptr(fmt) }, c"%s", "a message must never be the format");
    // SAFETY: as this function asks of its caller.
    let buffer = unsafe { (*handle).data }.cast::<Vec<u8>>();
    // SAFETY: `api` lends its buffer for the time of the call.
    let written = unsafe { &mut *buffer };
    // SAFETY: as this function asks of its caller.
    written.extend_from_slice(unsafe { CStr::from_ptr(text) }.to_bytes());
    sys::SWITCH_STATUS_SUCCESS
}

/// A line of the loader's own in the host's log.
fn note(level: sys::switch_log_level_t, message: &str) {
    let message = CString::new(message).unwrap_or_default();
    log::write(sys::SWITCH_CHANNEL_ID_LOG, level, c"switch_loadable_module.c", 1, &message);
}
