//! The streams a command was started with, and that each has one user: what one has read is gone for another.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Command};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};

/// What stands for standard input, or output.
pub const STANDARD: &str = "-";
/// Arguments that name what is written. All other paths are read.
const WRITTEN: [&str; 7] = ["dest", "folder", "output", "oms_out", "resume_file", "reuse_cache", "state"];
/// Symbolic links that are followed to find a descriptor.
const MAX_LINKS: usize = 40;

/// What an argument reads from, as far as somebody else may read from the same.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Descriptor(u32),
    /// A pipe or socket, by device and inode.
    Stream(u64, u64),
}

/// Whether every stream named on the command line is named once. To be asked before anything is read.
///
/// # Errors
/// The rule that is broken.
pub fn have_one_reader_each(command: &Command, matches: &ArgMatches) -> Result<(), String> {
    let (mut command, mut matches) = (command, matches);
    while let Some((name, inner)) = matches.subcommand() {
        matches = inner;
        match command.find_subcommand(name) {
            Some(found) => command = found,
            None => return Ok(()),
        }
    }
    let mut seen: Vec<(Origin, String)> = Vec::new();
    for arg in command.get_arguments().filter(|arg| !WRITTEN.contains(&arg.get_id().as_str())) {
        let id = arg.get_id().as_str();
        let paths = matches.try_get_many::<PathBuf>(id).ok().flatten().into_iter().flatten();
        let numbers = matches.try_get_many::<u16>(id).ok().flatten().into_iter().flatten();
        let takes_standard = id == "path" || id.ends_with("passphrase_file") || id == "token_file";
        let origins = paths
            .flat_map(|path| origins(path, takes_standard))
            .chain(numbers.flat_map(|number| of_descriptor(u32::from(*number))));
        let name = arg.get_long().map_or_else(|| id.to_uppercase(), |long| format!("--{long}"));
        let mut new = Vec::new();
        for origin in origins {
            match seen.iter().chain(&new).find(|(there, _)| *there == origin) {
                Some((_, other)) => return Err(format!("{} is read by {other} and by {name}", origin.name())),
                None => new.push((origin, name.clone())),
            }
        }
        seen.append(&mut new);
    }
    Ok(())
}

impl Origin {
    fn name(&self) -> String {
        match self {
            Self::Descriptor(0) => "standard input".into(),
            Self::Descriptor(number) => format!("file descriptor {number}"),
            Self::Stream(..) => "one pipe or socket".into(),
        }
    }
}

/// Where a path is read from. Other files may be read any number of times.
fn origins(path: &Path, takes_standard: bool) -> Vec<Origin> {
    if takes_standard && path == Path::new(STANDARD) {
        return of_descriptor(0);
    }
    match descriptor(path) {
        Some(number) => of_descriptor(number),
        None => stream(path).into_iter().collect(),
    }
}

fn of_descriptor(number: u32) -> Vec<Origin> {
    let same = stream(Path::new(&format!("/dev/fd/{number}")));
    [Origin::Descriptor(number)].into_iter().chain(same).collect()
}

fn stream(path: &Path) -> Option<Origin> {
    let metadata = fs::metadata(path).ok()?;
    let kind = metadata.file_type();
    (kind.is_fifo() || kind.is_socket()).then(|| Origin::Stream(metadata.dev(), metadata.ino()))
}

/// The number of the open descriptor that a path like `/dev/stdin` or `/proc/self/fd/3` stands for.
pub fn descriptor(path: &Path) -> Option<u32> {
    let own = fs::canonicalize("/proc/self").ok();
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (folder, name) = (fs::canonicalize(parent).ok()?, path.file_name()?);
        let of_this_process = own.as_ref().is_some_and(|own| folder.starts_with(own)) && folder.ends_with("fd");
        if of_this_process || folder == Path::new("/dev/fd") {
            return name.to_str()?.parse().ok();
        }
        path = folder.join(fs::read_link(folder.join(name)).ok()?);
    }
    None
}

/// A duplicate of an open descriptor, which reads on from where that one is.
///
/// # Errors
/// Not found if it is not open; what the system says.
pub fn duplicate(number: u32) -> io::Result<File> {
    let standard = match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        2 => io::stderr().as_fd().try_clone_to_owned(),
        _ => return inherited(number),
    };
    standard.map(File::from)
}

#[cfg(target_os = "linux")]
fn inherited(number: u32) -> io::Result<File> {
    use rustix::{
        io::Errno,
        process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
    };
    let number = i32::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
    let duplicate =
        pidfd_open(getpid(), PidfdFlags::empty()).and_then(|own| pidfd_getfd(own, number, PidfdGetfdFlags::empty()));
    match duplicate {
        Ok(descriptor) => Ok(descriptor.into()),
        Err(Errno::BADF) => Err(io::ErrorKind::NotFound.into()),
        // Linux before 5.6, or a container that forbids it.
        Err(_) => reopened(number),
    }
}

/// On other systems, opening `/dev/fd/N` duplicates.
#[cfg(not(target_os = "linux"))]
fn inherited(number: u32) -> io::Result<File> {
    File::open(format!("/dev/fd/{number}"))
}

/// Opens anew what a descriptor refers to, unless that would read from elsewhere than the descriptor does.
#[cfg(target_os = "linux")]
fn reopened(number: i32) -> io::Result<File> {
    let path = format!("/proc/self/fd/{number}");
    let kind = fs::metadata(&path)?.file_type();
    if kind.is_socket() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it is a socket, which cannot be read here"));
    }
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let at_start = told.lines().any(|line| line.strip_prefix("pos:").is_some_and(|position| position.trim() == "0"));
    if kind.is_file() && !at_start {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it is not at the start of its file"));
    }
    File::open(path)
}

/// Whether a standard stream seems to have been closed when the program was started: Rust's runtime then opens
/// `/dev/null` in its place, for reading and writing. A shell's `</dev/null` is for reading and its `>/dev/null` for
/// writing only; a parent that opens it for both cannot be told from one that closed the stream.
pub fn was_closed(stream: impl AsFd) -> bool {
    let null = fs::metadata("/dev/null").map(|metadata| metadata.rdev());
    let (Ok(null), Ok(stat), Ok(flags)) = (null, fstat(&stream), fcntl_getfl(&stream)) else { return false };
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == null
        && flags & OFlags::RWMODE == OFlags::RDWR
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Seek, Write},
        os::{fd::AsRawFd, unix::fs::symlink},
    };

    use super::*;

    #[test]
    fn every_way_to_spell_a_descriptor_is_recognised() {
        let folder = tempfile::tempdir().expect("folder");
        let link = folder.path().join("link");
        symlink("/dev/stdin", &link).expect("link");
        let own = format!("/proc/{}/fd/0", std::process::id());
        for path in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "/proc/thread-self/fd/0", "/dev/../dev/stdin", &own]
        {
            assert_eq!(descriptor(Path::new(path)), Some(0), "{path}");
        }
        assert_eq!(descriptor(&link), Some(0));
        assert_eq!(descriptor(Path::new("/dev/stderr")), Some(2));
        let file = folder.path().join("0");
        fs::write(&file, "").expect("written");
        for path in [file.as_path(), Path::new("/dev/null"), Path::new("nowhere/0"), Path::new("/")] {
            assert_eq!(descriptor(path), None, "{}", path.display());
        }
        symlink("loop", folder.path().join("loop")).expect("link");
        assert_eq!(descriptor(&folder.path().join("loop")), None);
    }

    #[test]
    fn a_duplicate_reads_on_where_the_descriptor_is() {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"first\nsecond\n").expect("written");
        file.seek(io::SeekFrom::Start(6)).expect("sought");
        let number = u32::try_from(file.as_raw_fd()).expect("not negative");
        let mut text = String::new();
        duplicate(number).expect("duplicated").read_to_string(&mut text).expect("read");
        assert_eq!(text, "second\n");
        assert_eq!(duplicate(60_000).expect_err("not open").kind(), io::ErrorKind::NotFound);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_would_be_read_from_elsewhere_is_not_reopened() {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"first\nsecond\n").expect("written");
        assert_eq!(reopened(file.as_raw_fd()).expect_err("moved").kind(), io::ErrorKind::Unsupported);
        file.rewind().expect("rewound");
        reopened(file.as_raw_fd()).expect("at its start");
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
        assert_eq!(reopened(socket.as_raw_fd()).expect_err("socket").kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn a_null_device_for_reading_and_writing_stands_for_a_closed_stream() {
        let null = |read, write| File::options().read(read).write(write).open("/dev/null").expect("opened");
        assert!(was_closed(null(true, true)));
        assert!(!was_closed(null(true, false)) && !was_closed(null(false, true)));
        let zero = File::options().read(true).write(true).open("/dev/zero").expect("opened");
        assert!(!was_closed(zero));
    }
}
