//! `chainhost log`: the words and exit codes that scripts rely on, with the real program.

use std::process::Command;

use chainhost::{base::hash::Sha256, proof::log};

fn run(arguments: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_chainhost")).arg("log").args(arguments).output().unwrap();
    (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
}

fn tree() -> Vec<Sha256> {
    (0..7_u8).map(|it| log::leaf_hash(&[it])).collect()
}

fn joined(proof: &[Sha256]) -> String {
    proof.iter().map(Sha256::base64).collect::<Vec<_>>().join(",")
}

#[test]
fn inclusion_is_told_by_the_exit_code() {
    let leaves = tree();
    let (leaf, root) = (leaves.get(4).unwrap().base64(), log::root(&leaves).base64());
    let proof = joined(&log::inclusion_proof(&leaves, 4).unwrap());
    let with = |index: &str| {
        run(&[
            "verify-inclusion",
            "--leaf-hash",
            &leaf,
            "--index",
            index,
            "--size",
            "7",
            "--root",
            &root,
            "--proof",
            &proof,
        ])
    };
    assert_eq!(with("4").0, 0);
    assert_eq!(with("5").0, 22);
    assert_eq!(with("7").0, 22);
    let (code, error) = with("x");
    assert_eq!(code, 2);
    assert!(error.contains("--index"), "{error}");
}

#[test]
fn consistency_is_told_by_the_exit_code() {
    let leaves = tree();
    let (old, new) = (log::root(leaves.get(..3).unwrap()).base64(), log::root(&leaves).base64());
    let proof = joined(&log::consistency_proof(&leaves, 3).unwrap());
    let with = |root1: &str, proof: &str| {
        let sizes = ["verify-consistency", "--size1", "3", "--size2", "7"];
        run(&[&sizes[..], &["--root1", root1, "--root2", &new, "--proof", proof]].concat())
    };
    assert_eq!(with(&old, &proof).0, 0);
    assert_eq!(with(&new, &proof).0, 25);
    assert_eq!(with(&old, "").0, 25);
    let (code, error) = with("AAAA", &proof);
    assert_eq!(code, 2);
    assert!(error.contains("32 bytes"), "{error}");
}
