// What the application does about each refusal. A code that is new in the schema fails `npm run check` here.

import type { CreatePostErrorCode, SignInErrorCode, TransferErrorCode } from "./folio.js";

export interface Refusal<Code> {
  code: Code;
  message: string;
}

// `message` is for people, and good enough where the application has no words of its own. At run time it also serves
// for a code of a server that is newer than this client.

export function signInAdvice({ code, message }: Refusal<SignInErrorCode>): string {
  switch (code) {
    case "INVALID_CREDENTIALS":
      return "Wrong name or password.";
    case "TOO_MANY_ATTEMPTS":
      return message;
    default:
      code satisfies never;
      return message;
  }
}

export function createPostAdvice({ code, message }: Refusal<CreatePostErrorCode>): string {
  switch (code) {
    case "INVALID_TITLE":
    case "INVALID_CONTENT":
      return `Change the text: ${message}.`;
    case "AUTHOR_NOT_FOUND":
      return "Write as yourself.";
    default:
      code satisfies never;
      return message;
  }
}

export function transferAdvice({ code, message }: Refusal<TransferErrorCode>): string {
  switch (code) {
    case "INSUFFICIENT_FUNDS":
    case "BALANCE_LIMIT_EXCEEDED":
    case "INVALID_AMOUNT":
      return `Choose another amount: ${message}.`;
    case "ACCOUNT_NOT_FOUND":
    case "SAME_ACCOUNT":
    case "CURRENCY_MISMATCH":
      return `Choose another account: ${message}.`;
    case "INVALID_MEMO":
      return `Shorten the memo: ${message}.`;
    case "IDEMPOTENCY_KEY_REUSED":
      // Nothing that a person did: the program gave one key to two transfers.
      throw new Error(message);
    default:
      code satisfies never;
      return message;
  }
}
