/**
 * Where the hub is and where its files are kept: the environment variables of Hugging Face's tools.
 *
 * @module
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** What the environment says now. */
export interface HubSettings {
  /** Address of the hub without a slash at its end: `HF_ENDPOINT`, or the public one. */
  readonly endpoint: string;
  /** Folder of the cache: `HF_HUB_CACHE`, or `hub` in `HF_HOME`. */
  readonly cache: string;
  /** `HF_TOKEN`, or the token that `hf auth login` left in a file; sent to the endpoint only. */
  readonly token: string | undefined;
  /** True if `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is set: nothing is asked for. */
  readonly offline: boolean;
  /** Milliseconds without a byte after which a connection counts as dropped. */
  readonly patience: number;
}

/** Reads the environment; an empty variable counts as unset. */
export async function hubSettings(): Promise<HubSettings> {
  const home = folder("HF_HOME") ??
    join(folder("XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "huggingface");
  const on = (name: string) => /^(1|on|yes|true)$/i.test(variable(name) ?? "");
  return {
    endpoint: endpoint(),
    cache: folder("HF_HUB_CACHE") ?? folder("HUGGINGFACE_HUB_CACHE") ?? join(home, "hub"),
    token: await token(folder("HF_TOKEN_PATH") ?? join(home, "token")),
    offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
    patience: seconds("HF_HUB_DOWNLOAD_TIMEOUT", 30) * 1000,
  };
}

function variable(name: string): string | undefined {
  return Deno.env.get(name)?.trim() || undefined;
}

function folder(name: string): string | undefined {
  const path = variable(name);
  return path && resolve(path.replace(/^~(?=[/\\]|$)/, () => homedir()));
}

function seconds(name: string, otherwise: number): number {
  const value = Number(variable(name) ?? otherwise);
  if (value > 0 && value < 1e6) return value;
  throw new RangeError(`${name} is "${variable(name)}": expected a number of seconds above 0`);
}

function endpoint(): string {
  const given = variable("HF_ENDPOINT") ?? "https://huggingface.co";
  if (!/^https?:\/\/[^/]/.test(given) || !URL.canParse(given)) {
    throw new RangeError(
      `HF_ENDPOINT is "${given}": expected an address such as "https://huggingface.co"`,
    );
  }
  return given.replace(/\/+$/, "");
}

async function token(path: string): Promise<string | undefined> {
  const found = variable("HF_TOKEN") ??
    (await Deno.readTextFile(path).catch(() => "")).trim();
  if (/^[\x21-\x7e]*$/.test(found)) return found || undefined;
  throw new RangeError(
    "The token of the hub (HF_TOKEN or the file of HF_TOKEN_PATH) holds spaces, line breaks or " +
      "other signs that no token has: copy it again",
  );
}
