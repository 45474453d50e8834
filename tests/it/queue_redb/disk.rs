//! A disk in memory that loses power, fills up and fails to sync, as real ones do.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

/// What one sector is: it is written whole or not at all.
const SECTOR: usize = 512;

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What a power cut leaves for sure.
    synced: Vec<u8>,
    /// What the system shows while it runs.
    shown: Vec<u8>,
    /// What was done since the last sync.
    unsynced: Vec<Unsynced>,
    /// Calls until the power fails.
    calls_left: Option<u64>,
    /// Bytes that the disk has room for.
    room: Option<usize>,
    no_space: bool,
    sync_fails: bool,
    syncs: u64,
}

#[derive(Debug)]
enum Unsynced {
    Length(usize),
    Write(usize, Vec<u8>),
}

/// Random numbers from a seed (xorshift64*): a failing round can be run again.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

impl MemoryDisk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    /// The power fails after so many calls.
    pub(crate) fn fail_after(&self, calls: u64) {
        self.platter().calls_left = Some(calls);
    }

    /// Room for so many bytes beyond those that there are; `None`: enough.
    pub(crate) fn room(&self, more: Option<usize>) {
        let mut platter = self.platter();
        platter.room = more.map(|more| platter.shown.len() + more);
    }

    /// From now on no write finds space, also over what is there (copy-on-write file systems), or it does again.
    pub(crate) fn no_space(&self, none: bool) {
        self.platter().no_space = none;
    }

    /// From now on syncs fail, or no longer do.
    pub(crate) fn sync_fails(&self, fails: bool) {
        self.platter().sync_fails = fails;
    }

    /// How often it was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.platter().syncs
    }

    /// The disk as it is found after a power cut: all that was synced, and of the rest any sectors.
    pub(crate) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let platter = self.platter();
        let mut image = platter.synced.clone();
        for unsynced in &platter.unsynced {
            match unsynced {
                Unsynced::Length(length) => {
                    if dice.below(2) == 0 {
                        image.resize(*length, 0);
                    }
                }
                Unsynced::Write(offset, bytes) => {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if dice.below(2) == 0 {
                            put(&mut image, offset + number * SECTOR, sector);
                        }
                    }
                }
            }
        }
        Self(Arc::new(Mutex::new(Platter { synced: image.clone(), shown: image, ..Platter::default() })))
    }
}

fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

impl Platter {
    /// Counts a call; the last one before the cut is done, in part perhaps, but not answered.
    fn call(&mut self, does: impl FnOnce(&mut Self)) -> io::Result<()> {
        match &mut self.calls_left {
            Some(0) => return Err(io::Error::other("no power")),
            Some(1) => {
                self.calls_left = Some(0);
                does(self);
                return Err(io::Error::other("no power"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        does(self);
        Ok(())
    }
}

fn at(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

impl StorageBackend for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.platter().shown.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        let end = at(offset) + out.len();
        let bytes = platter.shown.get(at(offset)..end).ok_or_else(|| io::Error::other("read past the end"))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.room.is_some_and(|room| at(len) > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.call(|it| {
            it.shown.resize(at(len), 0);
            it.unsynced.push(Unsynced::Length(at(len)));
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.sync_fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        if platter.calls_left == Some(1) {
            // The power fails during the sync: what it would have kept is still in the air.
            platter.calls_left = Some(0);
            return Err(io::Error::other("no power"));
        }
        platter.call(|it| {
            it.syncs += 1;
            for unsynced in std::mem::take(&mut it.unsynced) {
                match unsynced {
                    Unsynced::Length(length) => it.synced.resize(length, 0),
                    Unsynced::Write(offset, bytes) => put(&mut it.synced, offset, &bytes),
                }
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.no_space {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.call(|it| {
            put(&mut it.shown, at(offset), data);
            it.unsynced.push(Unsynced::Write(at(offset), data.to_vec()));
        })
    }
}
