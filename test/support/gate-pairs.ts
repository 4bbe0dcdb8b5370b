// Pairs of statements as a memory gate meets them: the same said twice, the same words with something changed, the same
// topic, nothing in common. Written by hand; thresholds of src/domain/gate-policy.ts are calibrated on them.

export type PairKind = 'paraphrase' | 'near-miss' | 'same-topic' | 'unrelated';
export interface Pair { readonly kind: PairKind; readonly a: string; readonly b: string; readonly values: readonly [string, string] }

const pair = (kind: PairKind, a: string, b: string, va = a, vb = b): Pair => ({ kind, a, b, values: [va, vb] });

export const PAIRS: readonly Pair[] = [
  pair('paraphrase', 'The user prefers to be contacted by email.', 'The user wants to be reached via email.', 'email', 'via email'),
  pair('paraphrase', 'The user wants short answers.', 'The user prefers answers that are short.', 'short answers', 'short'),
  pair('paraphrase', 'The user is vegetarian and eats no meat.', 'The user does not eat meat because the user is vegetarian.', 'vegetarian', 'vegetarian'),
  pair('paraphrase', 'Invoices must go to the accounting department.', 'The accounting department must receive invoices.', 'accounting department', 'accounting department'),
  pair('paraphrase', 'The user works from Berlin.', 'The user is working in Berlin.', 'Berlin', 'in Berlin'),
  pair('paraphrase', 'The team deploys on Tuesdays.', 'Deployments of the team happen every Tuesday.', 'Tuesdays', 'every Tuesday'),
  pair('paraphrase', 'The customer has 3 open tickets about the printer.', 'There are three open printer tickets of the customer.', '3 tickets', 'three tickets'),
  pair('paraphrase', 'The user likes charts more than tables.', 'The user would rather see charts than tables.', 'charts', 'charts'),
  pair('paraphrase', 'An active customer is one with an order in the last 30 days.', 'A customer counts as active with an order within the last 30 days.', 'order in the last 30 days', 'an order within the last 30 days'),
  pair('paraphrase', 'The user uses PostgreSQL for the main database.', 'The main database of the user is PostgreSQL.', 'PostgreSQL', 'PostgreSQL'),
  pair('paraphrase', 'The user lives in Lisbon with two dogs.', 'The user has two dogs and lives in Lisbon.', 'Lisbon with two dogs', 'two dogs, Lisbon'),
  pair('paraphrase', 'Reports should be delivered as PDF.', 'The user wants reports delivered in PDF format.', 'PDF', 'PDF format'),
  pair('paraphrase', 'The printer on floor 3 jams often.', 'The floor 3 printer frequently jams.', 'jams often', 'frequently jams'),
  pair('paraphrase', 'The contract ends on 2027-03-31.', 'The end of the contract is 31 March 2027.', '2027-03-31', '31 March 2027'),
  pair('paraphrase', 'The user is allergic to peanuts.', 'The user has a peanut allergy.', 'peanuts', 'peanut'),
  pair('paraphrase', 'The user asked to be called Ada.', 'The user would like to be called Ada.', 'Ada', 'Ada'),

  pair('near-miss', 'The user is on the Pro plan.', 'The user is not on the Pro plan.', 'Pro', 'Pro'),
  pair('near-miss', 'The user prefers email.', 'The user prefers phone.', 'email', 'phone'),
  pair('near-miss', 'The retry limit is 3.', 'The retry limit is 5.', '3', '5'),
  pair('near-miss', 'The session lasts 30 minutes.', 'The session lasts 30 hours.', '30 minutes', '30 hours'),
  pair('near-miss', 'Ada leads the billing team.', 'Grace leads the billing team.', 'Ada', 'Grace'),
  pair('near-miss', 'The user met Ada in Berlin.', 'The user met Ada in Munich.', 'Berlin', 'Munich'),
  pair('near-miss', 'The contract ends on 2027-03-31.', 'The contract ends on 2027-05-31.', '2027-03-31', '2027-05-31'),
  pair('near-miss', 'The user always wants a summary.', 'The user never wants a summary.', 'summary', 'summary'),
  pair('near-miss', 'The backup runs before the deployment.', 'The backup runs after the deployment.', 'before', 'after'),
  pair('near-miss', 'The user wants invoices monthly.', 'The user wants invoices weekly.', 'monthly', 'weekly'),
  pair('near-miss', 'The price is 20 EUR.', 'The price is 20 USD.', '20 EUR', '20 USD'),
  pair('near-miss', 'Active means orders >= 3.', 'Active means orders <= 3.', 'orders >= 3', 'orders <= 3'),
  pair('near-miss', 'The team meets on Monday morning.', 'The team meets on Friday morning.', 'Monday morning', 'Friday morning'),
  pair('near-miss', 'The user eats fish.', 'The user does not eat fish.', 'fish', 'fish'),
  pair('near-miss', 'The freezer is at -5 degrees.', 'The freezer is at 5 degrees.', '-5 degrees', '5 degrees'),
  pair('near-miss', 'The staging server runs version 2.1.', 'The production server runs version 2.1.', '2.1', '2.1'),
  pair('near-miss', 'The user likes dark mode.', 'The user likes light mode.', 'dark mode', 'light mode'),
  pair('near-miss', 'Order 4711 was delivered.', 'Order 4712 was delivered.', 'delivered', 'delivered'),

  pair('same-topic', 'The user prefers email.', 'The user checks email twice a day.', 'email', 'twice a day'),
  pair('same-topic', 'The printer on floor 3 jams often.', 'The printer on floor 3 is out of toner.', 'jams', 'out of toner'),
  pair('same-topic', 'The user works from Berlin.', 'The user was born in Berlin.', 'works in Berlin', 'born in Berlin'),
  pair('same-topic', 'The team deploys on Tuesdays.', 'The team has a meeting on Tuesdays.', 'deploys', 'meeting'),
  pair('same-topic', 'The user uses PostgreSQL.', 'The user wants to leave PostgreSQL.', 'PostgreSQL', 'leave PostgreSQL'),
  pair('same-topic', 'Invoices go to accounting.', 'Invoices are paid within 30 days.', 'accounting', '30 days'),
  pair('same-topic', 'The user is allergic to peanuts.', 'The user asked for a menu without peanuts at the party.', 'peanuts', 'menu'),
  pair('same-topic', 'The contract ends on 2027-03-31.', 'The contract may be cancelled in writing.', '2027-03-31', 'in writing'),

  pair('unrelated', 'The user prefers email.', 'The freezer is at 5 degrees.'),
  pair('unrelated', 'Order 4711 was delivered.', 'The user likes dark mode.'),
  pair('unrelated', 'The team deploys on Tuesdays.', 'The user is allergic to peanuts.'),
  pair('unrelated', 'The user works from Berlin.', 'Invoices are paid within 30 days.'),
  pair('unrelated', 'Ada leads the billing team.', 'The printer on floor 3 jams often.'),
  pair('unrelated', 'The user wants short answers.', 'The contract ends on 2027-03-31.'),
];
