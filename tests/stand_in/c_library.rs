//! What the C library does for the module, which finds these functions before libc's: a disk that hangs, a thread that
//! can't be started.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::host::{failures, fault};

/// Holds up calls for the file that [`hang`] names.
pub static DISK: failures::Gate = failures::Gate::open();

/// Which call hangs: `stat` or `close`, and for which file.
static HANGS: RwLock<Option<(String, PathBuf)>> = RwLock::new(None);

/// From now on this call hangs for this file, until `None` releases it.
pub fn hang(call: Option<(String, PathBuf)>) {
    let is_released = call.is_none();
    *HANGS.write() = call;
    if is_released {
        DISK.release();
    } else {
        DISK.close(None);
    }
}

fn pass(call: &str, path: &[u8]) {
    let hangs = HANGS.read();
    let is_it =
        hangs.as_ref().is_some_and(|(name, file)| name == call && file.as_os_str().as_bytes() == path);
    drop(hangs);
    if is_it {
        DISK.pass();
    }
}

/// libc's own function. The name is looked up once for each `place`.
fn real(place: &AtomicUsize, name: &CStr) -> usize {
    let found = place.load(Ordering::Relaxed);
    if found != 0 {
        return found;
    }
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
    assert!(found != 0, "libc has it");
    place.store(found, Ordering::Relaxed);
    found
}

type Open = unsafe extern "C" fn(*const c_char, c_int, c_uint) -> c_int;

/// # Safety
/// As libc's: `path` is a C string. (The caller passes the mode as one of a variable number of arguments: on the
/// platforms of this test that makes no difference.)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if flags & (libc::O_NONBLOCK | libc::O_PATH) == 0 && is_pipe(path) {
        fault("it opens a pipe and may wait for a reader or a writer for ever");
    }
    // SAFETY: the function of that name has this type.
    let real = unsafe { std::mem::transmute::<usize, Open>(real(&REAL, c"open64")) };
    // SAFETY: as this function asks of its caller.
    unsafe { real(path, flags, mode) }
}

fn is_pipe(path: *const c_char) -> bool {
    // SAFETY: all zero bytes are one.
    let mut status = unsafe { std::mem::zeroed::<libc::stat>() };
    // SAFETY: a C string, and room for the answer.
    let result = unsafe { libc::stat(path, &raw mut status) };
    result == 0 && status.st_mode & libc::S_IFMT == libc::S_IFIFO
}

type Statx = unsafe extern "C" fn(c_int, *const c_char, c_int, c_uint, *mut libc::statx) -> c_int;

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn statx(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    status: *mut libc::statx,
) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if !path.is_null() {
        // SAFETY: as this function asks of its caller.
        pass("stat", unsafe { CStr::from_ptr(path) }.to_bytes());
    }
    // SAFETY: the function of that name has this type.
    let real = unsafe { std::mem::transmute::<usize, Statx>(real(&REAL, c"statx")) };
    // SAFETY: as this function asks of its caller.
    unsafe { real(folder, path, flags, mask, status) }
}

type Close = unsafe extern "C" fn(c_int) -> c_int;

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(file: c_int) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if HANGS.read().is_some()
        && let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{file}"))
    {
        pass("close", path.as_os_str().as_bytes());
    }
    // SAFETY: the function of that name has this type.
    let real = unsafe { std::mem::transmute::<usize, Close>(real(&REAL, c"close")) };
    // SAFETY: as this function asks of its caller.
    unsafe { real(file) }
}

type Body = extern "C" fn(*mut c_void) -> *mut c_void;
type Create =
    unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Body, *mut c_void) -> c_int;

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    body: Body,
    argument: *mut c_void,
) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if failures::is_due("pthread_create") {
        return libc::EAGAIN;
    }
    // SAFETY: the function of that name has this type.
    let real = unsafe { std::mem::transmute::<usize, Create>(real(&REAL, c"pthread_create")) };
    // SAFETY: as this function asks of its caller.
    unsafe { real(thread, attributes, body, argument) }
}
