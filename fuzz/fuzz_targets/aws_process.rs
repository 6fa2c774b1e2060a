//! Command lines of `credential_process`, and what such programs answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::store::aws::Process;

fuzz_target!(|input: (&str, &[u8])| {
    let (command, answer) = input;
    if let Ok(process) = Process::parse(command) {
        assert!(!process.program().is_empty());
        let words = [process.program()].into_iter().chain(process.arguments().iter().map(String::as_str));
        assert!(words.map(str::len).sum::<usize>() <= command.len());
    }
    let process = Process::parse("program").unwrap();
    let now = "2026-05-03T12:00:00Z".parse().unwrap();
    let _ = process.keys(answer, now);
});
