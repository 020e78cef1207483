/**
 * What an object store refuses or fails at, in one sentence that says what to do.
 *
 * @module
 */

/** Where something went wrong. */
export interface S3Place {
  /** Address of the storage, `"s3://bucket/prefix"`. */
  readonly url: string;
  readonly bucket: string;
  /** Who answers, for messages: an address, or Amazon S3. */
  readonly server: string;
}

/** What the client tells of an error. */
interface S3Failure extends Error {
  readonly code?: string;
  readonly $metadata?: { httpStatusCode?: number; attempts?: number };
}

/** Names of the client's errors where it has nothing to sign a request with. */
export const NO_CREDENTIALS = /^Credentials?ProviderError$|^CredentialsError$|^TokenProviderError$/;

const NOT_ACCEPTED = [
  ...["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException"],
  ...["InvalidToken", "RequestTimeTooSkewed", "TokenRefreshRequired"],
];

/** HTTP status of a refusal; undefined if nobody answered. */
export function statusOf(error: unknown): number | undefined {
  return (error as S3Failure).$metadata?.httpStatusCode;
}

/** True if the bytes did not have the checksum that came with them. */
export function isChecksumMismatch(error: unknown): boolean {
  return error instanceof Error && /checksum mismatch/i.test(error.message);
}

/**
 * The error to throw for one of the client's.
 *
 * @param error What the client threw.
 * @param place Where.
 * @param what What was asked for, such as `'reading "a/b"'`.
 */
export function s3Error(error: unknown, place: S3Place, what: string): Error {
  const { name, message, code, $metadata } = error as S3Failure;
  const status = $metadata?.httpStatusCode;
  const attempts = $metadata?.attempts ?? 1;
  const times = attempts > 1 ? ` ${attempts} times` : "";
  const { url, bucket, server } = place;
  const because = (text: string) => new Error(`${text} (${what})`, { cause: error });
  if (name === "NoSuchBucket") {
    return because(
      `${server} has no bucket "${bucket}": check its name and AWS_ENDPOINT_URL_S3, or make it`,
    );
  }
  if (NO_CREDENTIALS.test(name)) {
    return because(
      `There are no credentials for "${url}": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ` +
        `name a profile in AWS_PROFILE: ${message}`,
    );
  }
  if (/region is missing/i.test(message)) {
    return because(
      `It is not known in which region the bucket "${bucket}" lies: set AWS_REGION, or ` +
        `AWS_ENDPOINT_URL_S3 for an object store that is not Amazon's`,
    );
  }
  if (NOT_ACCEPTED.includes(name)) {
    return because(
      `${server} does not accept the credentials (${name}): check AWS_ACCESS_KEY_ID, ` +
        `AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and the clock of this machine`,
    );
  }
  if (status === 401 || status === 403) {
    return because(
      `${server} denies access to "${url}": the credentials need the rights to list the bucket and ` +
        `to get, put and delete objects in it`,
    );
  }
  if (status === undefined && (code !== undefined || name === "TimeoutError")) {
    return because(
      `${server} cannot be reached${times} (${shortened(message)}): check the network and ` +
        `AWS_ENDPOINT_URL_S3, then run this again`,
    );
  }
  if (status === 429 || (status !== undefined && status >= 500)) {
    return because(
      `${server} answered ${status} (${name})${times}: it has a problem or is asked too often; run ` +
        `this again later`,
    );
  }
  return because(
    `${server} cannot do it: ${name}, ${shortened(message)}${status ? ` (status ${status})` : ""}`,
  );
}

/** A message without the name of the package that wrote it. */
function shortened(message: string): string {
  return message.replace(/^@smithy\/\S+ - (?:\[\w+\] )?/, "").replace(/\.$/, "");
}
