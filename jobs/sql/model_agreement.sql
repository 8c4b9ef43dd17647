-- How far the models agree about each photo: one row per photo.
--
-- Two models agree about a photo if they have a term in common. A model's terms are its best labels in lower case,
-- the last word of each ("Egyptian cat" is a cat), and their wider words ("tabby" is a cat). `agreement` is the
-- share of pairs that agree, among the models that have a label for the photo. It is NULL if there are fewer than
-- two: a model without a label neither agrees nor disagrees.
WITH
  best AS (
    SELECT model, uri, LOWER(label) AS label, label AS answer, score, rank
    FROM bqml_vision.model_answers
    WHERE rank <= $max_rank$ AND score >= $min_score$
  ),
  terms AS (
    SELECT model, uri, label AS term FROM best
    UNION DISTINCT
    SELECT model, uri, REGEXP_EXTRACT(label, r'\S+$') FROM best
    UNION DISTINCT
    SELECT model, uri, wider.term FROM best JOIN bqml_vision.label_terms AS wider USING (label)
  ),
  models AS (
    SELECT DISTINCT model, uri FROM best
  ),
  common AS (
    SELECT one.uri, one.model, other.model AS other_model, ARRAY_AGG(one.term ORDER BY one.term) AS terms
    FROM terms AS one
    JOIN terms AS other ON other.uri = one.uri AND other.term = one.term AND other.model > one.model
    GROUP BY one.uri, one.model, other.model
  ),
  pairs AS (
    SELECT one.uri, one.model, other.model AS other_model, common.uri IS NOT NULL AS agree, common.terms
    FROM models AS one
    JOIN models AS other ON other.uri = one.uri AND other.model > one.model
    LEFT JOIN common
      ON common.uri = one.uri AND common.model = one.model AND common.other_model = other.model
  ),
  compared AS (
    SELECT
      uri,
      COUNT(*) AS num_pairs,
      COUNTIF(agree) AS num_agreeing_pairs,
      ARRAY_AGG(
        STRUCT(pairs.model AS model, pairs.other_model AS other_model, agree AS agree, terms AS terms)
        ORDER BY pairs.model, pairs.other_model
      ) AS pairs
    FROM pairs
    GROUP BY uri
  ),
  answered AS (
    SELECT
      uri,
      COUNT(*) AS num_models,
      ARRAY_AGG(
        STRUCT(best.model AS model, answer AS label, best.score AS score) ORDER BY best.model
      ) AS answers
    FROM best
    WHERE rank = 1
    GROUP BY uri
  )
SELECT
  photo.uri,
  IFNULL(answered.num_models, 0) AS num_models,
  IFNULL(compared.num_pairs, 0) AS num_pairs,
  IFNULL(compared.num_agreeing_pairs, 0) AS num_agreeing_pairs,
  compared.num_agreeing_pairs / compared.num_pairs AS agreement,
  answered.answers,
  compared.pairs
FROM bqml_vision.object_table AS photo
LEFT JOIN answered ON answered.uri = photo.uri
LEFT JOIN compared ON compared.uri = photo.uri
WHERE photo.content_type LIKE 'image/%'
