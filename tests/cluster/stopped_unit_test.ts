import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { KeptCheckpoint, removeCheckpoint } from "../../lib/cluster/kept_checkpoint.ts";
import {
  type HarvestUnit,
  runUnit,
  type TrainSaeUnit,
  unitCommand,
  unitHash,
  withDependencies,
} from "../../lib/cluster/mod.ts";
import { readSafetensors, ROOT, writeSafetensors } from "../../lib/files/mod.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { contentsOf, onNode, TINY_SAE, writeTinyStudy } from "./tiny_study.ts";

await openDevice();

/** Starts a unit's command as a driver does, with its standard input open. */
function start(unit: TrainSaeUnit | HarvestUnit, storage: string, cache: string) {
  return new Deno.Command(Deno.execPath(), {
    // The program itself: a signal to a task would be a signal to two processes.
    args: ["run", "-A", "-q", `lib/cli/${unit.kind}.ts`, ...unitCommand(unit, storage).slice(3)],
    cwd: ROOT,
    env: { INTERLENS_CACHE: cache, INTERLENS_PROGRESS: "json", INTERLENS_PARENT: "stdin" },
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

/** Reads what a process prints until a state of its progress is as wanted; the rest is dropped. */
async function until(
  stream: ReadableStream<Uint8Array>,
  reached: (done: number, total: number) => boolean | Promise<boolean>,
): Promise<void> {
  const reader = stream.pipeThrough(
    new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>,
  ).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`It ended too early:\n${text}`);
    text += value;
    for (const [, json] of text.matchAll(/^(\{"interlens":"progress".*\})\n/gm)) {
      const { done, total } = JSON.parse(json);
      if (!await reached(done, total)) continue;
      void (async () => {
        while (!(await reader.read()).done);
      })();
      return;
    }
  }
}

Deno.test("a training that is stopped, orphaned or killed goes on, on another node if need be, to the same bytes", async () => {
  await inScratch(async (folder) => {
    const data = await writeTinyStudy(folder, 1);
    const unit: TrainSaeUnit = {
      ...{ kind: "train", trainer: "sae", data },
      config: { ...TINY_SAE, dSae: 512, steps: 500 },
    };
    const before = withDependencies([unit]).slice(0, -1);
    const place = (name: string) => join(folder, name);
    const undisturbed = openStorage(place("undisturbed"));
    await onNode(place("node"), async () => {
      for (const each of before) await runUnit(each, { storage: undisturbed });
    });
    const { code } = await new Deno.Command("cp", {
      args: ["-r", place("undisturbed"), place("disturbed")],
    }).output();
    assertEquals(code, 0);
    await onNode(place("node"), () => runUnit(unit, { storage: undisturbed }));
    const storage = openStorage(place("disturbed"));
    const hash = unitHash(unit);
    const kept = () => Array.fromAsync(storage.list(`checkpoints/${hash}/`), ({ key }) => key);

    // Stopped on one node: what it had is in the storage.
    const stopped = start(unit, storage.url, place("first"));
    await until(stopped.stderr, (done, total) => done > 0 && done < total);
    stopped.kill("SIGTERM");
    assertEquals((await stopped.status).code, 143);
    const [checkpointKey, ...more] = await kept();
    assertEquals(more, []);
    await storage.download(checkpointKey, place("looked at"));
    const { step } = readSafetensors(place("looked at")).metadata;
    assert(Number(step) > 0);

    // Its driver dies on another one, where it went on.
    const orphan = start(unit, storage.url, place("second"));
    let first: number | undefined;
    await until(orphan.stderr, (done, total) => {
      if (total !== 500) return false;
      if (done > 0) first ??= done;
      return done > 0 && done < total;
    });
    assert(first! > Number(step), `it began at step ${first}, not behind ${step}`);
    await orphan.stdin.close();
    assertEquals((await orphan.status).code, 143);

    // Killed without a warning, and taken up again on the same node.
    const killed = start(unit, storage.url, place("second"));
    const checkpoint = join(place("second"), "units", hash, "checkpoints");
    const times = new Set<number>();
    await until(killed.stderr, async () => {
      for await (const { name } of Deno.readDir(checkpoint)) {
        const stat = await Deno.stat(join(checkpoint, name, "checkpoint.safetensors"));
        times.add(stat.mtime!.getTime());
      }
      return times.size >= 1;
    });
    killed.kill("SIGKILL");
    await killed.status;
    await killed.stdin.close().catch(() => {});

    await onNode(place("second"), () => runUnit(unit, { storage }));
    assertEquals(await contentsOf(storage), await contentsOf(undisturbed));
    assertEquals(await kept(), []);
    await assertRejects(
      () => Deno.stat(join(place("second"), "units", hash)),
      Deno.errors.NotFound,
    );
  });
});

Deno.test("a harvest that is stopped goes on, and its store is the same", async () => {
  await inScratch(async (folder) => {
    const data = await writeTinyStudy(folder, 2);
    const units: HarvestUnit[] = [0, 1].map((shard) => ({ kind: "harvest", data, shard }));
    const [one, other] = ["one", "other"].map((name) => openStorage(join(folder, name)));
    for (const [i, unit] of units.entries()) {
      await onNode(join(folder, "a"), () => runUnit(unit, { storage: one }));
      const child = start(unit, other.url, join(folder, "b"));
      if (i === 0) {
        await until(child.stderr, () => true);
        child.kill("SIGTERM");
        assert([0, 143].includes((await child.status).code));
        await child.stdin.close().catch(() => {});
      } else {
        await child.stderr.cancel();
        await child.stdin.close();
        await child.status;
      }
      await onNode(join(folder, "b"), () => runUnit(unit, { storage: other }));
    }
    for (const storage of [one, other]) {
      await onNode(join(folder, "c"), () => runUnit({ kind: "merge", data }, { storage }));
    }
    assertEquals(await contentsOf(other), await contentsOf(one));
  });
});

Deno.test("a unit whose signal is aborted makes no record", async () => {
  await inScratch(async (folder) => {
    const data = await writeTinyStudy(folder, 1);
    const units = withDependencies([{ kind: "train", trainer: "sae", data, config: TINY_SAE }]);
    const storage = openStorage(join(folder, "storage"));
    for (const unit of units) {
      await onNode(join(folder, "cache"), async () => {
        if (unit.kind !== "merge") {
          const signal = AbortSignal.abort();
          await assertRejects(() => runUnit(unit, { storage, signal }), DOMException);
        }
        assertEquals(await storage.stat(`units/${unitHash(unit)}.json`), undefined);
        await runUnit(unit, { storage });
      });
    }
  });
});

/** Writes a checkpoint of a number of steps where `cachedRun` does. */
async function checkpointAt(dir: string, step: number): Promise<string> {
  const folder = join(dir, "checkpoints", "sae-0123456789abcdef");
  await Deno.mkdir(folder, { recursive: true });
  const path = join(folder, "checkpoint.safetensors");
  const w = { dtype: "F32" as const, shape: [1], data: Float32Array.of(step) };
  await writeSafetensors(path, { w }, { step: `${step}` });
  return path;
}

Deno.test("of two checkpoints the later one is gone on from", async () => {
  await inScratch(async (folder) => {
    const storage = openStorage(join(folder, "storage"));
    const place = (name: string) => join(folder, name);
    await checkpointAt(place("a"), 7);
    {
      await using kept = await KeptCheckpoint.open(storage, "f".repeat(16), place("a"));
      await kept.copy();
    }
    const bytesOf = (dir: string) =>
      Deno.readFile(join(dir, "checkpoints", "sae-0123456789abcdef", "checkpoint.safetensors"));
    for (const [name, step] of [["none", undefined], ["earlier", 3], ["later", 9]] as const) {
      if (step !== undefined) await checkpointAt(place(name), step);
      const own = step === undefined ? undefined : await bytesOf(place(name));
      await using _ = await KeptCheckpoint.open(storage, "f".repeat(16), place(name));
      const expected = step === 9 ? own : await bytesOf(place("a"));
      assertEquals(await bytesOf(place(name)), expected, name);
    }
    // A file of somebody else does not lead out of the folder, and one that is no checkpoint is left.
    await storage.write(`checkpoints/${"f".repeat(16)}/x/y/checkpoint.safetensors`, "");
    await storage.write(`checkpoints/${"f".repeat(16)}/bad/checkpoint.safetensors`, "no tensors");
    await using _ = await KeptCheckpoint.open(storage, "f".repeat(16), place("new"));
    assertEquals(await bytesOf(place("new")), await bytesOf(place("a")));
    await assertRejects(() => Deno.stat(join(place("new"), "checkpoints", "x")));
  });
});

Deno.test("a checkpoint is copied when it has changed, and removed when the unit is done", async () => {
  await inScratch(async (folder) => {
    const uploads: string[] = [];
    const inner = openStorage(join(folder, "storage"));
    const storage = new Proxy(inner, {
      get: (target, name) => {
        const value = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          if (name === "upload") uploads.push(String(args[1]));
          return value.apply(target, args);
        };
      },
    });
    const dir = join(folder, "unit");
    await using kept = await KeptCheckpoint.open(storage, "e".repeat(16), dir);
    await kept.copy(); // there is none yet
    await checkpointAt(dir, 1);
    await Promise.all([kept.copy(), kept.copy()]);
    assertEquals(uploads.length, 1);
    const path = await checkpointAt(dir, 2);
    await Deno.utime(path, 1, 1);
    await kept.copy();
    const key = `checkpoints/${"e".repeat(16)}/sae-0123456789abcdef/checkpoint.safetensors`;
    assertEquals(uploads, [key, key]);
    assertEquals(await inner.read(key), await Deno.readFile(path));
    await removeCheckpoint(inner, "e".repeat(16));
    assertEquals(await inner.stat(key), undefined);
  });
});

Deno.test("a checkpoint does not replace one of another node that is further", async () => {
  await inScratch(async (folder) => {
    const storage = openStorage(join(folder, "storage"));
    const [ahead, behind] = ["ahead", "behind"].map((name) => join(folder, name));
    await using other = await KeptCheckpoint.open(storage, "d".repeat(16), behind);
    await using kept = await KeptCheckpoint.open(storage, "d".repeat(16), ahead);
    const path = await checkpointAt(ahead, 10);
    await kept.copy();
    await checkpointAt(behind, 9);
    await other.copy();
    const key = `checkpoints/${"d".repeat(16)}/sae-0123456789abcdef/checkpoint.safetensors`;
    assertEquals(await storage.read(key), await Deno.readFile(path));
    // One that nobody could go on from is replaced.
    await storage.write(key, "no checkpoint at all");
    await Deno.utime(await checkpointAt(behind, 9), 1, 1);
    await other.copy();
    await storage.download(key, join(folder, "kept"));
    assertEquals(readSafetensors(join(folder, "kept")).metadata.step, "9");
  });
});

Deno.test("a training is kept until its record is written, and what a dead one left is removed", async () => {
  await inScratch(async (folder) => {
    const data = await writeTinyStudy(folder, 1);
    const unit: TrainSaeUnit = { kind: "train", trainer: "sae", data, config: TINY_SAE };
    const inner = openStorage(join(folder, "storage"));
    const key = `units/${unitHash(unit)}.json`;
    const dir = join(folder, "cache", "units", unitHash(unit));
    const exists = (path: string) => Deno.stat(path).then(() => true, () => false);
    let broken = true;
    const storage = new Proxy(inner, {
      get: (target, name) => {
        const value = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          if (name === "write" && args[0] === key && broken) throw new Error("No space");
          return value.apply(target, args);
        };
      },
    });
    await onNode(join(folder, "cache"), async () => {
      for (const each of withDependencies([unit]).slice(0, -1)) await runUnit(each, { storage });
      await assertRejects(() => runUnit(unit, { storage }), Error, "No space");
      assert(await exists(dir), "the training is lost");
      broken = false;
      const { result } = await runUnit(unit, { storage });
      assert(!await exists(dir));

      const checkpoint = `checkpoints/${
        unitHash(unit)
      }/sae-0123456789abcdef/checkpoint.safetensors`;
      await inner.write(checkpoint, "left");
      await Deno.mkdir(dir, { recursive: true });
      assertEquals((await runUnit(unit, { storage })).result, result);
      assertEquals([await exists(dir), await inner.stat(checkpoint)], [false, undefined]);
    });
  });
});

Deno.test("the same training twice on one machine runs once", async () => {
  await inScratch(async (folder) => {
    const data = await writeTinyStudy(folder, 1);
    const unit: TrainSaeUnit = { kind: "train", trainer: "sae", data, config: TINY_SAE };
    const storage = openStorage(join(folder, "storage"));
    await onNode(join(folder, "cache"), async () => {
      for (const each of withDependencies([unit]).slice(0, -1)) await runUnit(each, { storage });
      const [one, other] = await Promise.all([0, 1].map(() => runUnit(unit, { storage })));
      // One record, with its time.
      assertEquals(one, other);
    });
  });
});
