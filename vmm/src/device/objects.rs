//! The handles of the guest and what they stand for.

use std::os::fd::{AsRawFd, RawFd};

use mote_abi::ring::{FIRST_PREOPEN, HANDLES_MAX};

use super::answer::Errno;
use super::files::{Directory, OpenFile};
use super::sockets::Socket;
use super::stream::Stream;

/// What a handle stands for.
#[derive(Debug)]
pub enum Object {
    /// The program's standard input, output or error: index into [`Objects`]' streams.
    Standard(usize),
    /// A TCP or UDP socket.
    Socket(Socket),
    /// The stream of an HTTP exchange.
    Stream(Stream),
    Directory(Directory),
    /// A file that is no directory.
    File(OpenFile),
}

/// All handles. A handle is an index; those below [`FIRST_PREOPEN`] are given out at start or never.
#[derive(Debug)]
pub struct Objects {
    slots: Vec<Option<Object>>,
    /// Slots from [`FIRST_PREOPEN`] on that are empty.
    free: Vec<usize>,
    /// Slots that are not.
    live: u64,
    /// Not in the slots: they stay open when the program closes their handles, for what the VMM itself has to say and
    /// because they are the parent's as well.
    standard: [Stream; 3],
}

const FIRST: usize = 16;
const _: () = assert!(FIRST as u64 == FIRST_PREOPEN);

impl Objects {
    /// A table with the standard streams at 0, 1 and 2.
    #[must_use]
    pub fn new(standard: [Stream; 3]) -> Objects {
        let mut slots: Vec<Option<Object>> = (0..standard.len()).map(|i| Some(Object::Standard(i))).collect();
        slots.resize_with(FIRST, || None);
        Objects {
            slots,
            free: Vec::new(),
            live: 3,
            standard,
        }
    }

    /// Whether one more object can be given a handle.
    ///
    /// # Errors
    /// EMFILE with [`HANDLES_MAX`] handles.
    pub fn check_room(&self) -> Result<(), Errno> {
        if self.live >= HANDLES_MAX {
            return Err(Errno(libc::EMFILE));
        }
        Ok(())
    }

    /// Gives an object a handle.
    ///
    /// # Errors
    /// EMFILE with [`HANDLES_MAX`] handles.
    pub fn insert(&mut self, object: Object) -> Result<u64, Errno> {
        self.check_room()?;
        self.live += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(empty) = self.slots.get_mut(slot) {
            *empty = Some(object);
        }
        Ok(slot as u64)
    }

    /// The object behind a handle.
    ///
    /// # Errors
    /// EBADF for a handle that stands for nothing.
    pub fn get(&self, handle: u64) -> Result<&Object, Errno> {
        let slot = usize::try_from(handle).ok().and_then(|i| self.slots.get(i));
        slot.and_then(Option::as_ref).ok_or(Errno(libc::EBADF))
    }

    /// As [`Self::get`], to be changed.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_mut(&mut self, handle: u64) -> Result<&mut Object, Errno> {
        let slot = usize::try_from(handle).ok().and_then(|i| self.slots.get_mut(i));
        slot.and_then(Option::as_mut).ok_or(Errno(libc::EBADF))
    }

    /// Takes the object out; dropping it closes its descriptors.
    ///
    /// # Errors
    /// EBADF for a handle that stands for nothing.
    pub fn remove(&mut self, handle: u64) -> Result<Object, Errno> {
        let index = usize::try_from(handle).map_err(|_| Errno(libc::EBADF))?;
        let object = self
            .slots
            .get_mut(index)
            .and_then(Option::take)
            .ok_or(Errno(libc::EBADF))?;
        self.live -= 1;
        if index >= FIRST {
            self.free.push(index);
        }
        Ok(object)
    }

    /// A standard stream by its number.
    ///
    /// # Errors
    /// EBADF for a number above 2.
    pub fn standard(&mut self, number: usize) -> Result<&mut Stream, Errno> {
        self.standard.get_mut(number).ok_or(Errno(libc::EBADF))
    }

    /// The stream that a handle reads from, or with `writing` writes to.
    ///
    /// # Errors
    /// EBADF for a handle that stands for nothing, or is not for that.
    pub fn stream(&mut self, handle: u64, writing: bool) -> Result<&mut Stream, Errno> {
        let number = match self.get(handle)? {
            Object::Standard(number) => *number,
            _ => {
                return match self.get_mut(handle)? {
                    Object::Socket(socket) => Ok(&mut socket.stream),
                    Object::Stream(stream) => Ok(stream),
                    Object::Standard(_) | Object::Directory(_) | Object::File(_) => Err(Errno(libc::EBADF)),
                };
            }
        };
        // Standard input is read; output and error are written.
        if writing == (number == 0) {
            return Err(Errno(libc::EBADF));
        }
        self.standard(number)
    }

    /// The descriptor that poll(2) is to watch for a handle.
    ///
    /// # Errors
    /// EBADF for a handle that stands for nothing.
    pub fn descriptor(&self, handle: u64) -> Result<RawFd, Errno> {
        match self.get(handle)? {
            Object::Standard(number) => self
                .standard
                .get(*number)
                .map(Stream::fd)
                .ok_or(Errno(libc::EBADF)),
            Object::Socket(socket) => Ok(socket.stream.fd()),
            Object::Stream(stream) => Ok(stream.fd()),
            Object::Directory(directory) => Ok(directory.fd().as_raw_fd()),
            Object::File(file) => Ok(file.fd().as_raw_fd()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn objects() -> Objects {
        Objects::new([0; 3].map(|_| Stream::new(File::open("/dev/null").unwrap().into())))
    }

    #[test]
    fn handles_are_reused_and_limited() {
        let mut objects = objects();
        for handle in FIRST_PREOPEN..FIRST_PREOPEN + HANDLES_MAX - 3 {
            assert_eq!(objects.insert(Object::Standard(0)), Ok(handle));
        }
        assert_eq!(objects.insert(Object::Standard(0)), Err(Errno(libc::EMFILE)));
        objects.remove(100).unwrap();
        assert_eq!(objects.insert(Object::Standard(0)), Ok(100));
    }

    #[test]
    fn a_handle_that_stands_for_nothing_is_bad() {
        let mut objects = objects();
        for handle in [3, FIRST_PREOPEN - 1, FIRST_PREOPEN, u64::MAX] {
            assert!(objects.get(handle).is_err(), "{handle}");
            assert!(objects.remove(handle).is_err(), "{handle}");
        }
        objects.remove(1).unwrap();
        assert!(objects.get(1).is_err());
        // Low numbers are not given out again.
        assert_eq!(objects.insert(Object::Standard(0)), Ok(FIRST_PREOPEN));
    }
}
