//! Owns the scratch folder of a run: files to send, configurations, peers built from source. It is
//! in memory if there is a /dev/shm, and is removed at the end. The next run removes the folder of
//! a run that was killed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

const PREFIX: &str = "heartbeat-bench-";
/// Length of the pieces in which a file is written; a multiple of the pattern's length.
const PIECE_BYTES: usize = 1 << 20;

/// The scratch folder.
pub struct Workshop {
    folder: PathBuf,
}

impl Workshop {
    /// Makes a folder below /dev/shm, or, if there is none, below the folder for temporary files.
    pub fn open() -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        remove_left_overs(&base);
        let folder = base.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(folder.join("files/heartbeat"))?;
        Ok(Self { folder })
    }

    /// Its path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether this program runs as root. h2o then needs a user in its configuration.
    pub(super) fn is_root(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(&self.folder).is_ok_and(|metadata| metadata.uid() == 0)
    }

    /// Writes a configuration.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A file for the output of a server.
    pub(super) fn log_file(&self, name: &str) -> io::Result<File> {
        File::options().create(true).append(true).open(self.log_path(name))
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.log", name.replace('/', "-")))
    }

    /// The last line of a server's output.
    pub fn last_words(&self, name: &str) -> String {
        let text = fs::read_to_string(self.log_path(name)).unwrap_or_default();
        text.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// Writes the file /heartbeat/N with N bytes of the pattern, if it does not exist, below the
    /// folder that is returned.
    pub(super) fn file(&self, bytes: u64) -> io::Result<PathBuf> {
        let root = self.folder.join("files");
        let path = root.join(format!("heartbeat/{bytes}"));
        if !path.exists() {
            let piece: Vec<u8> = b"0123456789ABCDEF".repeat(PIECE_BYTES / 16);
            let mut out = BufWriter::new(File::create(&path)?);
            let mut left = bytes;
            while left > 0 {
                let n = left.min(PIECE_BYTES as u64);
                out.write_all(&piece[..n as usize])?;
                left -= n;
            }
            out.flush()?;
        }
        Ok(root)
    }

    /// The C epoll loop, built once a run.
    pub(super) fn floor(&self) -> io::Result<PathBuf> {
        let program = self.folder.join("floor");
        if !program.exists() {
            let mut command = Command::new("cc");
            command.args(["-O2", "-Wall", "-Wextra", "-o"]).arg(&program);
            build(command.arg(Self::sources("floor.c")))?;
        }
        Ok(program)
    }

    /// A server in Go, built once a run.
    pub(super) fn go_program(&self, source: &str) -> io::Result<PathBuf> {
        let program = self.folder.join(source);
        if !program.exists() {
            let mut command = Command::new("go");
            command.current_dir(Self::sources(source)).args(["build", "-o"]).arg(&program);
            build(command.arg("."))?;
        }
        Ok(program)
    }

    /// A server in Rust, built once a run. The build is kept beside this program for later runs.
    pub(super) fn cargo_program(&self, source: &str) -> io::Result<PathBuf> {
        let program = self.folder.join(source);
        if !program.exists() {
            let own = std::env::current_exe()?;
            let target = own.parent().unwrap_or(&self.folder).join("peers");
            let manifest = Path::new(&Self::sources(source)).join("Cargo.toml");
            let mut command = Command::new("cargo");
            command.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest);
            build(command.arg("--target-dir").arg(&target))?;
            fs::copy(target.join("release").join(source), &program)?;
        }
        Ok(program)
    }

    /// The path of the source of a peer.
    pub(super) fn sources(name: &str) -> String {
        format!("{}/peers/{name}", env!("CARGO_MANIFEST_DIR"))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs a compiler. The error holds the last line that it has written.
fn build(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim_end().lines().last().unwrap_or_default();
    Err(io::Error::other(format!("{} cannot build it: {last}", command.get_program().display())))
}

/// Removes the folders of runs that are no longer alive.
fn remove_left_overs(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(pid) = name.strip_prefix(PREFIX) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
