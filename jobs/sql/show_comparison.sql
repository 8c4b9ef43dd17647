-- What each model says about each photo, one row per label, and how far the models agree about the photo.
SELECT
  photo.uri, answers.model, answers.label, answers.score, answers.rank,
  answers.x_min, answers.y_min, answers.x_max, answers.y_max,
  photo.agreement, photo.pairs
FROM bqml_vision.model_agreement AS photo
LEFT JOIN bqml_vision.model_answers AS answers ON answers.uri = photo.uri
ORDER BY photo.agreement, photo.uri, answers.model, answers.rank
