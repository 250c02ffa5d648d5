//! The directory that holds all containers of one root.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use casemate_spec::{ContainerId, Error, Result};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use super::home::missing;
use super::{Container, Home, Lock, Record};
use crate::cli::Global;

/// Where the containers are kept.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    directory: Rc<OwnedFd>,
}

/// A container's place, ours alone: no other `create` can have it, no `delete` can take it.
#[derive(Debug)]
pub struct Reserved {
    home: Home,
    lock: Lock,
}

impl Root {
    /// Opens `--root` or its default, making it (mode 0700) when it is not there.
    ///
    /// # Errors
    /// It cannot be made, or somebody else could change what is in it.
    pub fn open(global: &Global) -> Result<Self> {
        let path = global.root_path()?;
        match Self::at(&path)? {
            Some(root) => Ok(root),
            None => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&path)
                    .map_err(|error| Error::io(format!("make root directory {}", path.display()), &error))?;
                Self::at(&path)?
                    .ok_or_else(|| Error::new(path.display().to_string(), "root directory was removed"))
            }
        }
    }

    /// The container `id`, for reading.
    ///
    /// # Errors
    /// "container does not exist"; its state is malformed.
    pub fn container(global: &Global, id: &ContainerId) -> Result<Container> {
        Container::load(Self::home(global, id)?.ok_or_else(|| missing(id))?)
    }

    /// The container `id`, locked for a change.
    ///
    /// # Errors
    /// As [`Root::container`]; another command holds it.
    pub fn locked(global: &Global, id: &ContainerId) -> Result<Container> {
        Container::load_locked(Self::home(global, id)?.ok_or_else(|| missing(id))?)
    }

    /// The directory of `id`, whatever its state; `None` when there is none.
    ///
    /// # Errors
    /// The root directory is unsafe, or the kernel's.
    pub fn home(global: &Global, id: &ContainerId) -> Result<Option<Home>> {
        match Self::at(&global.root_path()?)? {
            Some(root) => Home::open(&root.directory, &root.path, id),
            None => Ok(None),
        }
    }

    /// Takes the place of a new container.
    ///
    /// # Errors
    /// "container with given ID already exists", whoever asks second.
    pub fn reserve(&self, id: &ContainerId) -> Result<Reserved> {
        match rustix::fs::mkdirat(self.directory.as_ref(), id.as_str(), Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return Err(Error::new(id.as_str(), "container with given ID already exists"));
            }
            Err(error) => return Err(Error::os(format!("{id}: make state directory"), error.raw_os_error())),
        }
        // A `delete --force` may come between; then the place is lost, and says so.
        let home = Home::open(&self.directory, &self.path, id)?.ok_or_else(|| missing(id))?;
        let lock = home.lock()?;
        Ok(Reserved { home, lock })
    }

    /// The ids of all containers, sorted. Names that are no ids are not ours.
    ///
    /// # Errors
    /// The root directory cannot be read; one that is not there is empty.
    pub fn list(global: &Global) -> Result<Vec<ContainerId>> {
        let path = global.root_path()?;
        let Some(root) = Self::at(&path)? else { return Ok(Vec::new()) };
        let failed = |error: Errno| Error::os(format!("read {}", path.display()), error.raw_os_error());
        let mut ids = Vec::new();
        for entry in Dir::read_from(root.directory.as_ref()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Some(id) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    fn at(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => {
                return Err(Error::os(
                    format!("open root directory {}", path.display()),
                    error.raw_os_error(),
                ));
            }
        };
        trusted(path, &directory)?;
        Ok(Some(Self { path: path.to_owned(), directory: Rc::new(directory) }))
    }
}

impl Reserved {
    /// The directory.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The lock, for a child to know what to close.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The directory and the lock's descriptor, for a birth: the child must not inherit the lock.
    pub fn split(self) -> (Home, OwnedFd) {
        (self.home, self.lock.into_fd())
    }

    /// Now that the container is recorded: it, still locked.
    pub fn into_container(self, record: Record) -> Container {
        Container::of(self.home, record, Some(self.lock))
    }
}

/// Whoever can write here can make us signal any process and remove any cgroup.
fn trusted(path: &Path, directory: &OwnedFd) -> Result<()> {
    let refuse = |why: &str| Err(Error::new(format!("root directory {}", path.display()), why));
    let stat = rustix::fs::fstat(directory).map_err(|error| {
        Error::os(format!("stat root directory {}", path.display()), error.raw_os_error())
    })?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return refuse("it belongs to another user");
    }
    if stat.st_mode & 0o022 != 0 {
        return refuse("others may write to it (mode must not exceed 0755)");
    }
    Ok(())
}
