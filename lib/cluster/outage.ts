/**
 * Waiting for an engine or a storage that does not answer.
 *
 * @module
 */
import type { Storage } from "../storage/mod.ts";
import { asksInVain } from "../storage/refusal.ts";
import { EngineUnavailable } from "./engine.ts";

/** A storage that does not answer, which may be mended by asking again. */
class StorageUnavailable extends Error {}

/** Seconds until a wait is spoken of. */
const QUIET = 3;
/** Seconds between two tries, at first and at most. */
const [FIRST_PAUSE, LONGEST_PAUSE] = [0.75, 5];

/** What an {@linkcode Outage} needs. */
export interface OutageSettings {
  /** What does not answer, for messages. */
  readonly engine: { readonly name: string };
  readonly storage: Pick<Storage, "url">;
  /** Time in seconds. */
  readonly clock: { now(): number };
  /** Seconds until it is too long. */
  readonly patience: number;
  readonly voice: { say(text: string): void };
}

/** Bears failures that may pass, for as long as there is patience. */
export class Outage {
  readonly #settings: OutageSettings;
  #now: { since: number; pause: number; said: boolean } | undefined;

  constructor(settings: OutageSettings) {
    this.#settings = settings;
  }

  /**
   * Asks the storage.
   *
   * @throws {Error} If it lets nobody in; any other failure is one that {@linkcode bear} waits out.
   */
  async ask<T>(request: () => Promise<T>): Promise<T> {
    try {
      return await request();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (asksInVain(error)) {
        throw new Error(`Cannot use the storage "${this.#settings.storage.url}": ${reason}`, {
          cause: error,
        });
      }
      throw new StorageUnavailable(reason, { cause: error });
    }
  }

  /**
   * Says how long to wait after a failure.
   *
   * @returns Seconds until the next try.
   * @throws {Error} If it has lasted too long, or the failure is none of those that pass.
   */
  bear(error: unknown): number {
    const ofStorage = error instanceof StorageUnavailable;
    if (!ofStorage && !(error instanceof EngineUnavailable)) throw error;
    const { engine, storage, clock, patience, voice } = this.#settings;
    const what = `${ofStorage ? `The storage "${storage.url}"` : engine.name} does not answer`;
    const now = clock.now();
    const { since, pause, said } = this.#now ?? { since: now, pause: FIRST_PAUSE, said: false };
    const lasted = now - since;
    if (lasted >= patience) {
      throw new Error(
        `${what} since ${Math.round(lasted)} s: ${error.message}. Jobs that run go ` +
          `on: run the same units again to take them up`,
        { cause: ofStorage ? error.cause : error },
      );
    }
    if (!said && lasted >= QUIET) {
      voice.say(`${what}, waiting up to ${Math.round(patience)} s for it: ${error.message}`);
    }
    this.#now = {
      since,
      pause: Math.min(LONGEST_PAUSE, 1.5 * pause),
      said: said || lasted >= QUIET,
    };
    return pause;
  }

  /** Everything answers. */
  over(): void {
    this.#now = undefined;
  }
}
