//! The Debian package, installed by this machine's own dpkg into throw-away roots, beside small stand-ins for
//! FreeSWITCH's packages. What is installed is the module that was built with this test, packaged by `debian/`
//! as it is now.
//!
//! A root holds copies of the few programs that dpkg and the maintainer scripts call, an empty database of dpkg's
//! and nothing else. It needs root (for chroot), and neither mounts nor the network.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, OnceLock};

use crate::support::suite::{Suite, Tests, Why, tests};
use tempfile::TempDir;

const OURS: &str = "freeswitch-mod-fail2ban-rs";
/// FreeSWITCH's own package of its C module, and the name that this module's package had in release 1.0.0.
const THEIRS: &str = "freeswitch-mod-fail2ban";

const MODULES: &str = "usr/lib/freeswitch/mod";
const MODULE: &str = "usr/lib/freeswitch/mod/mod_fail2ban.so";
const PUT_ASIDE: &str = "usr/lib/freeswitch/mod/mod_fail2ban.c-module";
const SETTINGS: &str = "etc/freeswitch/autoload_configs/fail2ban.conf.xml";
const FILTER: &str = "etc/fail2ban/filter.d/freeswitch-fail2ban.conf";
const JAIL: &str = "etc/fail2ban/jail.d/freeswitch-fail2ban.conf";
const ROTATION: &str = "etc/logrotate.d/freeswitch-fail2ban";

/// The user and group freeswitch of the throw-away roots.
const FREESWITCH: u32 = 990;

/// What dpkg and the maintainer scripts call.
const PROGRAMS: &[&str] = &[
    "sh",
    "cat",
    "chmod",
    "chown",
    "cmp",
    "cp",
    "diff",
    "dpkg",
    "dpkg-deb",
    "dpkg-divert",
    "dpkg-query",
    "dpkg-split",
    "dpkg-trigger",
    "gzip",
    "ldconfig",
    "md5sum",
    "mkdir",
    "mv",
    "rm",
    "rmdir",
    "start-stop-daemon",
    "tar",
];

/// What a test is given: the packages, and a root of its own.
type Place = (&'static Packages, Root);

/// One test: its name, and what it does.
type Test = (&'static str, fn(Place));

const IN_A_ROOT: &[Test] = &[
    ("installed_after_the_c_module_it_takes_its_place", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.c_module]);
        let said = root.install(&[&packages.ours]);
        // A running switch may have the C module loaded.
        assert_eq!(commands(&said), ["fs_cli -x 'reload mod_fail2ban'", "fs_cli -x 'fail2ban status'"]);
        root.assert_ours(packages);
        assert_eq!(root.read(PUT_ASIDE), "the C module 1.10.12");
        assert_eq!(root.files_that_load_all_takes(), ["mod_fail2ban.so"]);
    }),
    ("installed_before_freeswitch_it_leaves_room_for_its_configuration", |(packages, root)| {
        root.install(&[&packages.ours]);
        assert!(
            !root.has("etc/freeswitch"),
            "FreeSWITCH installs its configuration only where there is none"
        );

        root.install(&[&packages.freeswitch, &packages.c_module]);
        root.assert_ours(packages);
        assert_eq!(root.read(PUT_ASIDE), "the C module 1.10.12");
        assert!(root.has("etc/freeswitch/freeswitch.xml"), "FreeSWITCH's configuration is not there");
        // Brought as soon as there was a place for it.
        assert_eq!(root.read(SETTINGS), packages.settings);
    }),
    ("an_upgrade_of_the_c_module_leaves_ours_in_place", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.c_module, &packages.ours]);
        root.install(&[&packages.newer_c_module]);
        root.assert_ours(packages);
        assert_eq!(root.read(PUT_ASIDE), "the C module 1.11.2");
    }),
    ("an_upgrade_of_ours_replaces_the_module_and_keeps_what_was_changed", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.c_module, &packages.ours]);
        root.write(SETTINGS, "changed");
        root.write(JAIL, "changed, too");
        let before = root.metadata(MODULE).ino();

        let said = root.install(&[&packages.newer]);
        assert_eq!(root.bytes(MODULE), packages.newer_module);
        // A running switch has the old file mapped: it must not be written over.
        assert_ne!(root.metadata(MODULE).ino(), before);
        assert_eq!(root.read(PUT_ASIDE), "the C module 1.10.12");
        assert_eq!(root.read(SETTINGS), "changed");
        assert_eq!(root.read(JAIL), "changed, too");
        assert!(said.contains("fs_cli -x 'reload mod_fail2ban'"), "{said}");
    }),
    ("an_upgrade_from_1_1_0_replaces_the_kit_and_keeps_what_was_changed", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.c_module, &packages.release_1_1_0]);
        assert_eq!(root.read(FILTER), "the filter of 1.1.0");
        root.write(JAIL, "changed");

        // Both have changed the jail: dpkg's own question, with the answer that no question gives.
        root.dpkg(&["--force-confold", "--install", &packages.ours.in_root()]);
        root.assert_ours(packages);
        assert_eq!(root.read(FILTER), shipped("fail2ban/filter.d/freeswitch-fail2ban.conf"));
        assert_eq!(root.read(JAIL), "changed");
        assert_eq!(
            root.read(&format!("{JAIL}.dpkg-dist")),
            shipped("fail2ban/jail.d/freeswitch-fail2ban.conf")
        );
        assert!(!root.has(&format!("{FILTER}.dpkg-bak")) && !root.has(&format!("{JAIL}.dpkg-bak")));
    }),
    ("an_upgrade_mends_an_installation_that_a_file_made_by_hand_has_stopped", |(packages, root)| {
        root.dpkg(&["--unpack", &packages.release_1_1_0.in_root()]);
        root.write(FILTER, "of a how-to");
        let said = root.dpkg_fails(&["--configure", "--pending"]);
        assert!(said.contains("conffile prompt"), "{said}");
        root.install(&[&packages.ours]);
        root.assert_ours(packages);
        assert_eq!(root.read(FILTER), shipped("fail2ban/filter.d/freeswitch-fail2ban.conf"));
        assert_eq!(root.read(&format!("{FILTER}.dpkg-bak")), "of a how-to");
    }),
    ("files_made_by_hand_make_room_without_a_question_and_are_kept", |(packages, root)| {
        root.write(FILTER, "of a how-to");
        root.write(JAIL, "of a how-to, too");
        root.write(ROTATION, &shipped("logrotate/freeswitch-fail2ban"));
        let said = root.install(&[&packages.ours]);
        root.assert_ours(packages);
        assert_eq!(root.read(FILTER), shipped("fail2ban/filter.d/freeswitch-fail2ban.conf"));
        assert_eq!(root.read(JAIL), shipped("fail2ban/jail.d/freeswitch-fail2ban.conf"));
        let kept: Vec<_> = said.lines().filter(|line| line.contains("dpkg-bak")).collect();
        assert_eq!(kept.len(), 2, "{said}");
        assert!(kept.iter().all(|line| [FILTER, JAIL].iter().any(|file| line.contains(file))), "{said}");

        // Those files are the package's own from now on.
        root.write(JAIL, "changed");
        let said = root.install(&[&packages.newer]);
        assert!(root.read(JAIL) == "changed" && !said.contains("dpkg-bak"), "{said}");

        root.dpkg(&["--purge", OURS]);
        assert_eq!(root.read(&format!("{FILTER}.dpkg-bak")), "of a how-to");
        assert_eq!(root.read(&format!("{JAIL}.dpkg-bak")), "of a how-to, too");
        assert!(!root.has(&format!("{ROTATION}.dpkg-bak")), "a copy of what is there anyway");
        let left =
            root.all_files().into_iter().filter(|path| path.to_string_lossy().ends_with("dpkg-backup"));
        assert_eq!(left.count(), 0);
    }),
    ("removal_puts_the_c_module_back_and_keeps_the_settings", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.c_module, &packages.ours]);
        root.dpkg(&["--remove", OURS]);
        assert_eq!(root.read(MODULE), "the C module 1.10.12");
        assert!(!root.has(PUT_ASIDE));
        assert_eq!(root.diversions(), "");
        assert_eq!(root.read(SETTINGS), packages.settings);
        assert!(root.has(FILTER));

        // And once more: what is left of it is its own.
        root.write(JAIL, "changed");
        root.install(&[&packages.ours]);
        root.assert_ours(packages);
        assert_eq!(root.read(JAIL), "changed");
    }),
    ("removal_without_a_c_module_leaves_no_module", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.ours]);
        root.dpkg(&["--remove", OURS]);
        assert!(!root.has(MODULE) && !root.has(PUT_ASIDE));
        assert_eq!(root.diversions(), "");
    }),
    ("removal_of_the_c_module_leaves_ours_in_place", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.c_module, &packages.ours]);
        root.dpkg(&["--purge", THEIRS]);
        root.assert_ours(packages);
        assert!(!root.has(PUT_ASIDE));
        root.dpkg(&["--remove", OURS]);
        assert!(!root.has(MODULE) && !root.has(PUT_ASIDE));
    }),
    ("an_installation_that_fails_puts_everything_back", |(packages, root)| {
        root.write(JAIL, "made by hand");
        root.install(&[&packages.freeswitch, &packages.c_module, &packages.owner_of_the_filter]);
        let said = root.dpkg_fails(&["--install", &packages.ours.in_root()]);
        assert!(said.contains("trying to overwrite"), "{said}");
        assert_eq!(root.read(JAIL), "made by hand");
        assert!(!root.has(&format!("{JAIL}.dpkg-backup")));
        assert_eq!(root.read(MODULE), "the C module 1.10.12");
        assert_eq!(root.diversions(), "");
    }),
    ("purge_takes_all_that_it_brought", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.c_module]);
        let before = root.all_files();
        root.install(&[&packages.ours]);
        assert!(root.has(SETTINGS));
        root.dpkg(&["--purge", OURS]);
        assert_eq!(root.all_files(), before);
    }),
    ("purge_keeps_settings_that_were_there_before", |(packages, root)| {
        root.install(&[&packages.freeswitch]);
        root.write(SETTINGS, "the administrator's");
        root.install(&[&packages.ours]);
        assert_eq!(root.read(SETTINGS), "the administrator's");
        root.dpkg(&["--purge", OURS]);
        assert_eq!(root.read(SETTINGS), "the administrator's");
    }),
    ("purge_keeps_settings_that_were_changed", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.ours]);
        root.write(SETTINGS, "changed");
        let said = root.dpkg(&["--purge", OURS]);
        assert_eq!(root.read(SETTINGS), "changed");
        assert!(said.contains(SETTINGS), "{said}");
    }),
    ("settings_that_were_deleted_stay_deleted", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.ours]);
        fs::remove_file(root.path(SETTINGS)).unwrap();
        root.install(&[&packages.newer]);
        assert!(!root.has(SETTINGS));
    }),
    ("settings_belong_to_whom_their_folder_does_and_can_be_read", |(packages, root)| {
        for owner in [0, FREESWITCH] {
            root.install(&[&packages.freeswitch]);
            let folder = root.path(SETTINGS).parent().unwrap().to_owned();
            std::os::unix::fs::chown(folder, Some(owner), Some(owner)).unwrap();
            root.install(&[&packages.ours]);
            let metadata = root.metadata(SETTINGS);
            assert_eq!((metadata.uid(), metadata.gid()), (owner, owner));
            assert_eq!(metadata.permissions().mode() & 0o777, 0o644);
            root.dpkg(&["--purge", OURS]);
        }
    }),
    ("release_1_0_0_under_the_old_name_is_replaced", |(packages, root)| {
        root.install(&[&packages.freeswitch, &packages.release_1_0_0]);
        root.write(SETTINGS, "changed");
        // What apt does where a package breaks another.
        root.dpkg(&["--auto-deconfigure", "--unpack", &packages.ours.in_root()]);
        root.dpkg(&["--remove", THEIRS]);
        let said = root.dpkg(&["--configure", "--pending"]);
        // A reload would go on running release 1.0.0.
        assert!(said.contains("systemctl restart freeswitch"), "{said}");
        root.assert_ours(packages);
        assert!(!root.has(PUT_ASIDE), "the old package's module was left behind");
        assert_eq!(root.read(SETTINGS), "changed");

        // Only the name is left of the old package, and a purge of that takes no file of ours.
        root.dpkg(&["--purge", THEIRS]);
        root.assert_ours(packages);
        assert!(root.has(FILTER) && root.has(JAIL) && root.has(ROTATION));

        // The way back to the old name is FreeSWITCH's package, which may stay beside ours.
        root.install(&[&packages.c_module]);
        root.assert_ours(packages);
        assert_eq!(root.read(PUT_ASIDE), "the C module 1.10.12");
    }),
    ("installing_enables_nothing_and_prints_the_next_two_commands", |(packages, root)| {
        root.install(&[&packages.freeswitch]);
        let said = root.install(&[&packages.ours]);
        assert_eq!(commands(&said), ["fs_cli -x 'load mod_fail2ban'", "fs_cli -x 'fail2ban status'"]);
        for entry in fs::read_dir(root.path("etc/fail2ban/jail.d")).unwrap() {
            let jail = fs::read_to_string(entry.unwrap().path()).unwrap();
            let enabled: Vec<&str> = jail.lines().filter(|line| line.starts_with("enabled")).collect();
            assert!(!enabled.is_empty() && enabled.iter().all(|line| line.ends_with("false")), "{enabled:?}");
        }
        for folder in ["etc/cron.d", "lib/systemd", "usr/lib/systemd", "etc/init.d"] {
            assert!(!root.has(folder), "{folder} has been made");
        }
    }),
    ("the_kits_are_where_they_belong", |(packages, root)| {
        root.install(&[&packages.ours]);
        for file in ["README.md", "changelog.gz", "copyright", "examples/crowdsec"] {
            let path = format!("usr/share/doc/{OURS}/{file}");
            assert!(root.has(&path), "{path} is not there");
        }
        assert_eq!(root.read(FILTER), shipped("fail2ban/filter.d/freeswitch-fail2ban.conf"));
        assert_eq!(root.read(JAIL), shipped("fail2ban/jail.d/freeswitch-fail2ban.conf"));
        assert_eq!(root.read(ROTATION), shipped("logrotate/freeswitch-fail2ban"));
        let changes_are_asked_about = root.dpkg(&["--status", OURS]);
        assert!(!changes_are_asked_about.contains("fail2ban.conf.xml"), "{changes_are_asked_about}");
        assert_eq!(root.metadata(MODULE).permissions().mode() & 0o777, 0o644);
    }),
];

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let in_a_root = Tests { module: module_path!(), functions: IN_A_ROOT };
    suite.add_with(&[], "dpkg", place, in_a_root);
    suite.add_with(&[logrotate], "logrotate", place, tests![works_in_a_folder_that_its_group_may_write_to]);
    suite.add_with(&[lintian], "lintian", place, tests![has_neither_error_nor_warning]);
    suite.add(&[], tests![the_notice_of_every_linked_crate_is_in_the_copyright_file]);
}

/// Removes the packages that the tests share.
pub fn end() {
    if let Some(Ok(packages)) = PACKAGES.get() {
        let _ = fs::remove_dir_all(packages.folder.path());
    }
}

fn place() -> Result<Place, Why> {
    let packages = PACKAGES.get_or_init(packages).as_ref().map_err(Why::clone)?;
    Ok((packages, packages.root()))
}

fn logrotate() -> Result<(), Why> {
    is_installed("logrotate")
}

fn lintian() -> Result<(), Why> {
    is_installed("lintian")
}

fn is_installed(program: &str) -> Result<(), Why> {
    which(program).map(drop).ok_or(Why::Missing(format!("{program} is not installed")))
}

fn works_in_a_folder_that_its_group_may_write_to((packages, root): Place) {
    root.bring(&which("logrotate").unwrap());
    root.install(&[&packages.freeswitch, &packages.ours]);
    let log = "var/log/freeswitch/fail2ban.log";
    root.write(log, "a line\n");
    std::os::unix::fs::chown(root.path(log), Some(FREESWITCH), Some(FREESWITCH)).unwrap();
    let rotate =
        |file: &str| root.run("logrotate", &["--force", "--state", "/tmp/state", &format!("/{file}")]);

    // It is the line `su` that makes it work.
    let rotation = root.read(ROTATION);
    let without = rotation.lines().filter(|line| !line.trim().starts_with("su "));
    root.write("tmp/without", &without.map(|line| format!("{line}\n")).collect::<String>());
    let refused = rotate("tmp/without").expect_err("logrotate works in this folder even without su");
    assert!(refused.contains("insecure permissions"), "{refused}");

    rotate(ROTATION).unwrap();
    assert_eq!(root.read(&format!("{log}.1")), "a line\n");
    let new = root.metadata(log);
    assert_eq!((new.len(), new.uid(), new.gid()), (0, FREESWITCH, FREESWITCH));
}

fn has_neither_error_nor_warning((packages, _): Place) {
    let mut command = Command::new(which("lintian").unwrap());
    command.args(["--allow-root", "--fail-on", "error,warning"]).arg(&packages.ours.file);
    let said = output_of(&mut command).unwrap_or_else(|said| panic!("{said}"));
    assert!(!said.contains("W: ") && !said.contains("E: "), "{said}");
}

fn the_notice_of_every_linked_crate_is_in_the_copyright_file() {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--offline", "--edges", "normal,no-proc-macro"]);
    tree.args(["--prefix", "none", "--format", "{p}"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let crates = output_of(&mut tree).unwrap_or_else(|said| panic!("{said}"));
    let crates: BTreeSet<&str> = crates
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| *name != "mod_fail2ban")
        .collect();
    assert!(crates.contains("libc"), "{crates:?}");
    let copyright = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("debian/copyright"));
    let missing: Vec<&&str> =
        crates.iter().filter(|name| !copyright.contains(&format!("Files: crates/{name}/*\n"))).collect();
    assert!(
        missing.is_empty(),
        "debian/copyright has no paragraph for {missing:?}, which are linked into the module"
    );
}

/// A package's file, in the folder of all packages.
struct Package {
    file: PathBuf,
}

impl Package {
    /// Its path seen from within a root.
    fn in_root(&self) -> String {
        format!("/packages/{}", self.file.file_name().unwrap().to_str().unwrap())
    }
}

/// All packages, and what each root is copied from.
struct Packages {
    folder: TempDir,
    ours: Package,
    newer: Package,
    /// This package with the number and other kit files of that release.
    release_1_1_0: Package,
    release_1_0_0: Package,
    freeswitch: Package,
    c_module: Package,
    newer_c_module: Package,
    /// Some other package that has a file of ours.
    owner_of_the_filter: Package,
    module: Vec<u8>,
    newer_module: Vec<u8>,
    settings: String,
}

/// Made once; or why that can't be done here.
static PACKAGES: OnceLock<Result<Packages, Why>> = OnceLock::new();

fn packages() -> Result<Packages, Why> {
    // SAFETY: geteuid takes nothing and always succeeds.
    if unsafe { libc::geteuid() } != 0 {
        return Err(Why::Missing("dpkg and chroot need root".to_owned()));
    }
    for program in ["dpkg", "dh", "dpkg-gencontrol"] {
        is_installed(program)?;
    }
    let module_is_for = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    if module_is_for != architecture() {
        let why =
            format!("the module is for {module_is_for}, and this machine's dpkg is for {}", architecture());
        return Err(Why::OtherHost(why));
    }
    Ok(Packages::make())
}

impl Packages {
    fn make() -> Packages {
        let folder = TempDir::with_prefix("packages-").unwrap();
        let packages = folder.path().join("packages");
        fs::create_dir(&packages).unwrap();
        let ours = package_ours(folder.path(), &packages);

        let unpacked = folder.path().join("ours");
        output_of(Command::new("dpkg-deb").arg("-R").arg(&ours.file).arg(&unpacked)).unwrap();
        let module = fs::read(unpacked.join(MODULE)).unwrap();
        let newer_module = [&module[..], b"newer"].concat();
        let another_of_ours = |version: &str, files: &[(&str, &[u8])]| {
            for (path, content) in files {
                fs::write(unpacked.join(path), content).unwrap();
            }
            let control = read(&unpacked.join("DEBIAN/control"));
            let now = control.lines().find(|line| line.starts_with("Version: ")).unwrap();
            let control = control.replace(now, &format!("Version: {version}"));
            fs::write(unpacked.join("DEBIAN/control"), control).unwrap();
            let file = packages.join(format!("ours-{version}.deb"));
            output_of(Command::new("dpkg-deb").arg("-b").arg(&unpacked).arg(&file)).unwrap();
            Package { file }
        };
        let newer = another_of_ours("99.0", &[(MODULE, &newer_module)]);
        let release_1_1_0 = another_of_ours(
            "1.1.0",
            &[(MODULE, b"release 1.1.0"), (FILTER, b"the filter of 1.1.0"), (JAIL, b"the jails of 1.1.0")],
        );

        let stand_in = |file: &str, name: &str, version: &str, files: &[(&str, &str)]| {
            stand_in(folder.path(), &packages.join(file), name, version, files)
        };
        let c_module = |version: &str| {
            let text = format!("the C module {version}");
            stand_in(&format!("c-{version}.deb"), THEIRS, version, &[(MODULE, &text)])
        };
        let made = Packages {
            newer,
            release_1_1_0,
            release_1_0_0: stand_in(
                "release-1.0.0.deb",
                THEIRS,
                "1.0.0",
                &[
                    (MODULE, "release 1.0.0"),
                    (SETTINGS, "the settings of 1.0.0"),
                    (FILTER, "the filter of 1.0.0"),
                    (JAIL, "the jail of 1.0.0"),
                    (ROTATION, "the rotation of 1.0.0"),
                    ("DEBIAN/conffiles", &format!("/{SETTINGS}\n/{FILTER}\n/{JAIL}\n/{ROTATION}\n")),
                ],
            ),
            freeswitch: stand_in(
                "freeswitch.deb",
                "freeswitch",
                "1.10.12",
                &[
                    ("usr/bin/freeswitch", "the switch"),
                    ("usr/share/freeswitch/conf/vanilla/freeswitch.xml", "the configuration"),
                    ("usr/share/freeswitch/conf/vanilla/autoload_configs/sofia.conf.xml", "of a module"),
                    ("DEBIAN/postinst", FREESWITCH_POSTINST),
                ],
            ),
            c_module: c_module("1.10.12"),
            newer_c_module: c_module("1.11.2"),
            owner_of_the_filter: stand_in("owner.deb", "site-filters", "1", &[(FILTER, "a site's own")]),
            ours,
            module,
            newer_module,
            settings: shipped("autoload_configs/fail2ban.conf.xml"),
            folder,
        };
        made.make_template();
        made
    }

    fn template(&self) -> PathBuf {
        self.folder.path().join("template")
    }

    /// What every root starts as.
    fn make_template(&self) {
        let root = Root { path: self.template() };
        for folder in ["dev", "tmp", "packages", "var/log", "var/lib/dpkg/info", "var/lib/dpkg/updates"] {
            fs::create_dir_all(root.path(folder)).unwrap();
        }
        for program in PROGRAMS {
            root.bring(&which(program).unwrap_or_else(|| panic!("{program} is not on this machine")));
        }
        // Scripts begin with #!/bin/sh, and loaders are in /lib or /lib64.
        for folder in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(root.path("usr").join(folder)).unwrap();
            std::os::unix::fs::symlink(format!("usr/{folder}"), root.path(folder)).unwrap();
        }
        root.write("dev/null", "");
        root.write(
            "etc/passwd",
            &format!("root:x:0:0::/:/bin/sh\nfreeswitch:x:{FREESWITCH}:{FREESWITCH}::/:/bin/sh\n"),
        );
        root.write("etc/group", &format!("root:x:0:\nfreeswitch:x:{FREESWITCH}:\n"));
        // What the package depends on counts as installed.
        let mut status = String::new();
        for library in ["libc6", "libgcc-s1"] {
            status += &format!(
                "Package: {library}\nStatus: install ok installed\nMaintainer: nobody <nobody@example.org>\n\
                 Architecture: {}\nVersion: 999\nDescription: a stand-in\n\n",
                architecture()
            );
            root.write(&format!("var/lib/dpkg/info/{library}.list"), "/.\n");
        }
        root.write("var/lib/dpkg/status", &status);
        for entry in fs::read_dir(self.folder.path().join("packages")).unwrap() {
            let file = entry.unwrap().path();
            fs::copy(&file, root.path("packages").join(file.file_name().unwrap())).unwrap();
        }
    }

    /// A root for one test.
    fn root(&self) -> Root {
        let path = tempfile::Builder::new().prefix("root-").tempdir_in(self.folder.path()).unwrap().keep();
        let mut copy = Command::new("cp");
        // dpkg's database is written in place by some of its programs: that is copied, the rest is linked.
        output_of(copy.arg("-alT").arg(self.template()).arg(&path)).unwrap();
        fs::remove_dir_all(path.join("var")).unwrap();
        output_of(Command::new("cp").arg("-a").arg(self.template().join("var")).arg(&path)).unwrap();
        Root { path }
    }
}

/// FreeSWITCH's, as far as it matters here: its configuration is installed only where there is no folder of that
/// name, and its log folder is open to its group and closed to the world.
const FREESWITCH_POSTINST: &str = "#!/bin/sh
set -e
[ \"$1\" = configure ] || exit 0
mkdir -p /var/log/freeswitch
chown freeswitch:freeswitch /var/log/freeswitch
chmod 770 /var/log/freeswitch
if [ ! -d /etc/freeswitch ]; then
    cp -r /usr/share/freeswitch/conf/vanilla /etc/freeswitch
fi
";

/// Packages the module that was built with this test, in a copy of what packaging reads.
fn package_ours(work: &Path, packages: &Path) -> Package {
    let copy = work.join("source with a space");
    fs::create_dir(&copy).unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in
        ["conf", "debian", "docs", "scripts", "Cargo.toml", "CHANGELOG.md", "README.md", "SECURITY.md"]
    {
        if project.join(name).exists() {
            output_of(Command::new("cp").arg("-r").arg(project.join(name)).arg(&copy)).unwrap();
        }
    }
    let mut rules = Command::new("debian/rules");
    rules.args(["clean", "binary"]).current_dir(&copy);
    rules.env("MODULE_SO", module()).env("PACKAGES", packages);
    output_of(&mut rules).unwrap_or_else(|said| panic!("{said}"));
    let mut made: Vec<PathBuf> = fs::read_dir(packages)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{OURS}_")))
        .collect();
    assert_eq!(made.len(), 1, "{made:?}");
    Package { file: made.remove(0) }
}

/// The module under test: `MOD_FAIL2BAN_SO`, or the one that was built with this test.
fn module() -> PathBuf {
    if let Some(path) = std::env::var_os("MOD_FAIL2BAN_SO").map(PathBuf::from) {
        return fs::canonicalize(&path)
            .unwrap_or_else(|error| panic!("MOD_FAIL2BAN_SO={}: {error}", path.display()));
    }
    let here = std::env::current_exe().unwrap();
    let module = here.with_file_name("libmod_fail2ban.so");
    assert!(module.exists(), "{} is not there", module.display());
    module
}

/// A package of these files, those in DEBIAN/ being its own.
fn stand_in(work: &Path, file: &Path, name: &str, version: &str, files: &[(&str, &str)]) -> Package {
    let folder = work.join(format!("{name}-{version}"));
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {}\nMaintainer: nobody <nobody@example.org>\n\
         Description: a stand-in\n",
        architecture()
    );
    for (path, text) in files.iter().copied().chain([("DEBIAN/control", control.as_str())]) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if path.ends_with("DEBIAN/postinst") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    output_of(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(folder).arg(file)).unwrap();
    Package { file: file.to_owned() }
}

/// A throw-away root, removed on drop.
struct Root {
    path: PathBuf,
}

impl Drop for Root {
    fn drop(&mut self) {
        if !self.path.ends_with("template") {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Root {
    fn path(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    fn metadata(&self, path: &str) -> fs::Metadata {
        fs::metadata(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn read(&self, path: &str) -> String {
        read(&self.path(path))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Copies a program of this machine and the libraries that it loads.
    fn bring(&self, program: &Path) {
        let libraries = output_of(Command::new("ldd").arg(program)).unwrap_or_default();
        let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
        for file in libraries.chain([program.to_owned()]) {
            // Debian's /bin, /sbin, /lib and /lib64 are links into /usr, here as well.
            let place = file.strip_prefix("/").unwrap();
            let place =
                if place.starts_with("usr") { place.to_owned() } else { Path::new("usr").join(place) };
            let copy = self.path.join(place);
            if !copy.exists() {
                fs::create_dir_all(copy.parent().unwrap()).unwrap();
                fs::copy(&file, &copy).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            }
        }
    }

    /// Runs a program in the root: all that it said; as an error where it failed. Nobody answers its questions.
    fn run(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(which("chroot").expect("chroot is on every Debian"));
        command.arg(&self.path).arg(program).args(args).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin").env("LC_ALL", "C").env("TERM", "dumb");
        output_of(&mut command)
    }

    fn dpkg(&self, args: &[&str]) -> String {
        self.run("dpkg", args).unwrap_or_else(|said| panic!("{said}"))
    }

    fn dpkg_fails(&self, args: &[&str]) -> String {
        self.run("dpkg", args).expect_err("dpkg has succeeded")
    }

    fn install(&self, packages: &[&Package]) -> String {
        let files: Vec<String> = packages.iter().map(|package| package.in_root()).collect();
        self.dpkg(&[&["--install"], &files.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())
    }

    fn diversions(&self) -> String {
        self.run("dpkg-divert", &["--list", "*"]).unwrap()
    }

    /// That our module is in place and our package whole.
    fn assert_ours(&self, packages: &Packages) {
        assert!(self.bytes(MODULE) == packages.module, "{MODULE} is not ours");
        let status = self.run("dpkg-query", &["--show", "--showformat=${db:Status-Status}", OURS]);
        assert_eq!(status.as_deref(), Ok("installed"));
        assert_eq!(self.dpkg(&["--verify", OURS]).replace(&format!("??5?????? c /{JAIL}\n"), ""), "");
    }

    /// FreeSWITCH's "load all" takes every file with ".so" anywhere in its name.
    fn files_that_load_all_takes(&self) -> Vec<String> {
        fs::read_dir(self.path(MODULES))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(".so"))
            .collect()
    }

    /// Every file and folder, but for dpkg's own.
    fn all_files(&self) -> BTreeSet<PathBuf> {
        fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, found);
                }
                found.insert(path);
            }
        }
        let mut found = BTreeSet::new();
        walk(&self.path, &mut found);
        found.retain(|path| {
            !path.starts_with(self.path("var/lib/dpkg")) && !path.starts_with(self.path("var/log"))
        });
        found
    }
}

/// The commands that the package says to run next.
fn commands(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.strip_prefix("    ")).collect()
}

/// A file below `conf/`.
fn shipped(path: &str) -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(path))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where a program is: in the PATH, or where root's are.
fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/bin:/sbin:/bin";
    // Those of /usr first: they are what the roots hold.
    let places = ["/usr/bin", "/usr/sbin"].into_iter().chain(path.split(':'));
    places.map(|folder| Path::new(folder).join(program)).find(|file| file.is_file())
}

/// dpkg's name for this machine's architecture.
fn architecture() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        output_of(Command::new("dpkg").arg("--print-architecture")).unwrap().trim().to_owned()
    });
    &NAME
}

/// What a command has said, on both ways; as an error where it failed.
fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(said.into_owned())
    } else {
        Err(format!("{command:?}: {}\n{said}", output.status))
    }
}
