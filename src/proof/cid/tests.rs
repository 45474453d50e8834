//! CIDs against those that npm `ipfs-unixfs-importer` 17.1.1 gives with the profile `unixfs-v1-2025`.

use super::*;

const M: usize = 1024 * 1024;

fn pattern(length: usize) -> Vec<u8> {
    let byte = |i: usize| u8::try_from((i * 31 + (i >> 8) * 7 + (i >> 16) * 13) & 255).unwrap();
    (0..length).map(byte).collect()
}

fn file(bytes: &[u8]) -> Node {
    let mut file = FileNode::new();
    file.write(bytes);
    file.finish()
}

#[test]
fn files_agree_with_the_reference() {
    for (length, cid, size) in [
        (0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", 0),
        (1, "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu", 1),
        (1000, "bafkreidhzfns7y3ya6sis75zvwdr2upqgoqu3dz6jshn6ohmqmjchc262i", 1000),
        (M - 1, "bafkreialwgei2cx4iwiz6qqbzf7zlwubn2gafvlmtbbrlbyv5i3cutgebu", 1_048_575),
        (M, "bafkreicmqivvuvv4s74lvjuh4rq6ipebnivura4h3zwusuvrzg6zsutc7a", 1_048_576),
        (M + 1, "bafybeifcxjkuqfjgoiezvfeig7adlkochc2dqy7epawey4tkd225b7u5fq", 1_048_681),
        (3 * M, "bafybeidjcilxqoksbrhyy6wrbxcrkjzrlbqm5xn7q7lgznf5xfxra3kenq", 3_145_887),
    ] {
        let bytes = pattern(length);
        let node = file(&bytes);
        assert_eq!((node.cid.to_string().as_str(), node.tree_bytes), (cid, size), "{length}");
        let mut pieces = FileNode::new();
        for piece in bytes.chunks(300_007) {
            pieces.write(piece);
        }
        assert_eq!(pieces.finish(), node);
        if length <= CHUNK_BYTES {
            assert_eq!(Node::small_file(Sha256::of(&bytes), size), node);
        }
    }
}

#[test]
fn wide_files_have_all_leaves_at_one_depth() {
    // A leaf of zeros hashed once: the trees are what is checked, at the edge of one node.
    let leaf = Part { node: file(&vec![0; M]), file_bytes: 1 << 20 };
    for (leaves, cid, size) in [
        (1023, "bafybeid4hoc6ka6t5dips4spzohacqmb6fh447dy6lr4km234zycb7upmy", 1_072_744_409),
        (1024, "bafybeibqawkaltgjfdebq4no6nmfcvkcw7k52xqzclkwfmrkn6oxw7srmy", 1_073_793_035),
        (1025, "bafybeigt7wofv4vnxbg3titijasuw4ptg5kfztec4smsk7opdt7z6djoxq", 1_074_841_783),
        (1026, "bafybeibo6viixf7edwfmxomba67c5irpfgizanzvvdba52wr5xsmu6eivm", 1_075_890_412),
    ] {
        let mut whole = FileNode::new();
        whole.leaves = vec![leaf; leaves - 1];
        whole.write(&vec![0; M]);
        let node = whole.finish();
        assert_eq!((node.cid.to_string().as_str(), node.tree_bytes), (cid, size), "{leaves}");
    }
}

#[test]
fn folders_agree_with_the_reference() {
    let small = folder(vec![
        ("z", file(b"")),
        ("a/c/d é.txt", file(&pattern(2 * M))),
        ("a-b", file(&pattern(3))),
        ("a/b", file(&pattern(4))),
    ])
    .unwrap();
    let wanted = ("bafybeig35xg6pjbql4izgssb44gm472eutja7pycq3yopmwyvevwz5jn2u", 2_097_568);
    assert_eq!((small.cid.to_string().as_str(), small.tree_bytes), wanted);
    let empty = folder(Vec::new()).unwrap();
    assert_eq!(empty.cid.to_string(), "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354");
}

#[test]
fn large_folders_are_tries() {
    let node = file(&pattern(5));
    let names: Vec<String> = (0..20_000).map(|at| format!("f{at:06}")).collect();
    let many = |count: usize| folder(names.iter().take(count).map(|it| (it.as_str(), node)).collect()).unwrap();
    for (count, cid, size) in [
        (4096, "bafybeif7ymrgseaomll4b7bzmmbp2kbehgqowkibtnvngxp5fz3yfmmniy", 229_380),
        (5043, "bafybeidqozq25bywfcbqwcjn6josvhmmu65lm6f5nrp6d7huedd2r4izo4", 282_412),
        // Exactly 262,144 bytes, and one link more.
        (5140, "bafybeigwwhsnnbag2aknkmfpeeue26jfbrnk3kdi77y27tjrbvia33lsmm", 287_844),
        (5141, "bafybeifhjbcxsjkcwbq2vadqufofj6uqj2iovmz4e6xvnvau6vsi6csomu", 336_890),
        (6000, "bafybeicygt53svfq5f57goavbpnynqtiyu4ldi7awumssxbyzm7ay4ovky", 392_085),
        (20_000, "bafybeigzfiwab66iyxnwtp53rbibhk22nc52lmj5tfshzg6hgrbi2ut6be", 1_384_428),
    ] {
        let node = many(count);
        assert_eq!((node.cid.to_string().as_str(), node.tree_bytes), (cid, size), "{count}");
    }
    let names: Vec<String> = (0..6_000).map(|at| format!("x/f{at:06}")).collect();
    let inner = folder(names.iter().map(|it| (it.as_str(), node)).chain([("y", node)]).collect()).unwrap();
    let wanted = ("bafybeifp24hrz6hv64k5ew5letq6qdliim3jt3rkqi56ez3dzv6yfeu3pm", 392_186);
    assert_eq!((inner.cid.to_string().as_str(), inner.tree_bytes), wanted);
}
