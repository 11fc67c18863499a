//! This machine's own addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// The addresses of all interfaces, in order; none if they can't be read.
pub fn own() -> Vec<IpAddr> {
    let mut first = ptr::null_mut();
    // SAFETY: `first` is written before it returns success.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    let mut next = first;
    // SAFETY: the list ends in null, and is not freed yet.
    while let Some(interface) = unsafe { next.as_ref() } {
        next = interface.ifa_next;
        // SAFETY: null, or an address of the list's.
        addresses.extend(unsafe { address(interface.ifa_addr) });
    }
    // SAFETY: the list was made above and is used no more.
    unsafe { libc::freeifaddrs(first) };
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// # Safety
/// `address` must be null or point to a socket address that is as large as its family says.
unsafe fn address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: as the caller has promised.
    match i32::from(unsafe { address.as_ref() }?.sa_family) {
        libc::AF_INET => {
            // SAFETY: as the caller has promised, for this family.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_this_machines_addresses() {
        assert!(own().contains(&IpAddr::from([127, 0, 0, 1])), "{:?}", own());
    }
}
