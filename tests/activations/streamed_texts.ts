import type { StreamedDocuments } from "../../lib/activations/mod.ts";
import type { Document } from "../../lib/corpus/mod.ts";
import { Rng } from "../../lib/tensor/mod.ts";

/** 300 documents of 1 to 30 letters, one after another; `onRead` is called for each. */
export function streamedTexts(onRead: (document: Document) => void = () => {}): StreamedDocuments {
  const source = {
    async *[Symbol.asyncIterator]() {
      const rng = new Rng(4, "texts");
      for (let i = 0; i < 300; i++) {
        const length = 1 + rng.integer(30);
        const letters = Array.from({ length }, () => String.fromCharCode(97 + rng.integer(26)));
        const document = { id: `text/${i}`, text: letters.join(""), group: "text" };
        onRead(document);
        yield await Promise.resolve(document);
      }
    },
  };
  return { source, name: "letters", shares: { train: 0.8, validation: 0.1, test: 0.1 } };
}
